//! The process ends after each system call that changes something; whoever runs next completes it, in either direction.

//! What a document quotes: the texts between backticks, command lines, and what was printed.

/// What a document quotes: the texts between backticks, and the blocks of what was printed.
#[derive(Default)]
pub struct Quotations {
    /// Texts between backticks, commands of prompts and of blocks of commands, each with its line.
    pub spans: Vec<(usize, String)>,
    /// Lines of what was printed, without a prompt between them.
    pub blocks: Vec<Vec<(usize, String)>>,
}

/// Reads a document.
pub fn quotations(text: &str) -> Quotations {
    let mut found = Quotations::default();
    let mut fence: Option<String> = None;
    let mut captured = false;
    let mut open: Option<(usize, String)> = None;
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        // What the lab wrote itself is not compared again.
        captured =
            (captured || line.starts_with("<!-- capture:")) && !line.starts_with("<!-- /capture");
        if let Some(kind) = line.trim_start().strip_prefix("```") {
            fence = if fence.is_some() { None } else { Some(kind.to_owned()) };
            found.blocks.push(Vec::new());
            open = None;
            continue;
        }
        match fence.as_deref() {
            Some("text") if !captured => block_line(number, line, &mut found),
            Some("sh") => {
                let command = line.trim_start().split(" #").next().unwrap_or_default().trim_end();
                let is_ours = command.starts_with("regent ");
                found.spans.extend(is_ours.then(|| (number, command.to_owned())));
            }
            Some(_) => {}
            None if captured => {}
            None => spans(number, line, &mut open, &mut found),
        }
    }
    found
}

/// A line of what was printed; a prompt, and what is left out, begins another piece.
fn block_line(number: usize, line: &str, found: &mut Quotations) {
    let first = line.split(' ').next().unwrap_or_default();
    let is_prompt = first == "$" || first.ends_with(['#', '$']);
    if is_prompt || line.trim().is_empty() || line.trim() == "..." {
        if let Some((_, command)) = line.split_once(' ').filter(|_| is_prompt) {
            found.spans.push((number, command.to_owned()));
        }
        return found.blocks.push(Vec::new());
    }
    if let Some(block) = found.blocks.last_mut() {
        block.push((number, line.to_owned()));
    }
}

/// The texts between backticks; one may go on in the next line.
fn spans(number: usize, line: &str, open: &mut Option<(usize, String)>, found: &mut Quotations) {
    if line.trim().is_empty() {
        *open = None;
    }
    for (index, part) in line.split('`').enumerate() {
        match (index, open.take()) {
            (0, None) => {}
            (0, Some((at, begun))) => *open = Some((at, format!("{begun} {}", part.trim_start()))),
            (_, None) => *open = Some((number, part.to_owned())),
            (_, Some(span)) => found.spans.push(span),
        }
    }
}

//! What stopped a server from having more connections: the limit with its evidence, the cure, and what comes next.

use super::page::{Page, capital, code};
use super::server;
use crate::domain::RunVerdict;
use crate::report::model::{Confirmation, LimitFinding, LimitKind, Report};
use crate::report::number::{grouped, seconds};

/// The section; nothing where nothing gave way.
pub(super) fn limit(page: &mut Page, report: &Report) {
    let Some(limit) = &report.limit else {
        return server::trouble(page, report);
    };
    page.heading("The limit");
    page.block(&sentence(limit));
    let evidence: Vec<String> = limit
        .evidence
        .iter()
        .map(|reason| format!("{}.", capital(reason)))
        .collect();
    if !evidence.is_empty() {
        page.subheading("Evidence");
        page.list(evidence);
    }
    if limit.kind != LimitKind::TargetReached {
        page.list([
            format!("**Cure:** {}.", limit.cure),
            match &limit.next {
                Some(next) => format!("**Next after it:** {next}."),
                None => "**Next after it:** not known.".to_owned(),
            },
        ]);
    }
    server::trouble(page, report);
    for confirmation in &limit.confirmations {
        page.block(&confirmed(confirmation));
    }
}

fn sentence(limit: &LimitFinding) -> String {
    if limit.kind == LimitKind::TargetReached {
        return format!(
            "**No limit up to {} connections**: as many as were asked for were {}.",
            grouped(limit.connections),
            if limit.answered.is_some() {
                "accepted and answered"
            } else {
                "accepted"
            }
        );
    }
    let when = match (&limit.seen, limit.at_seconds) {
        (Some(seen), Some(at)) => format!(" Seen first at {}: {seen}.", seconds(at)),
        _ => String::new(),
    };
    format!(
        "**{} connections** were {} at most. What bound them: **{}**.{when}",
        grouped(limit.connections),
        if limit.answered == Some(limit.connections) {
            "accepted and answered"
        } else {
            "accepted"
        },
        limit.kind
    )
}

fn confirmed(confirmation: &Confirmation) -> String {
    let why = confirmation
        .limit
        .as_ref()
        .map_or_else(String::new, |limit| format!(" What bound them: {limit}."));
    let connections = grouped(confirmation.connections);
    let length = seconds(confirmation.hold_seconds);
    let run = code(&confirmation.directory);
    match confirmation.verdict {
        RunVerdict::Held => {
            format!(
                "{connections} connections were held for {length} in a run of their own ({run})."
            )
        }
        verdict => format!(
            "{connections} connections were not held in a run of their own: {verdict} after {length} ({run}).{why}"
        ),
    }
}

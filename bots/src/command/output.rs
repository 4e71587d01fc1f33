//! Reports on their way out: a line of JSON each, or a line of the log.

use std::io::{BufWriter, Write};
use std::thread::JoinHandle;

use callbot::report::{CallReport, Outcome};
use tokio::sync::mpsc;

/// Writes reports until all reporters are gone, on a thread of its own, for a
/// reader of standard output may be slow.
pub(crate) fn write_reports(
    mut reports: mpsc::Receiver<CallReport>,
    json: bool,
) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new()
        .name("reports".to_owned())
        .spawn(move || {
            let mut out = BufWriter::with_capacity(64 * 1024, std::io::stdout().lock());
            while let Some(report) = reports.blocking_recv() {
                let mut next = Some(report);
                // Under load many lines go out in one write; none waits for another call.
                while let Some(report) = next {
                    log(&report);
                    // A reader that went away misses its lines; the calls go on.
                    if json {
                        let _ = writeln!(out, "{}", report.to_json());
                    }
                    next = reports.try_recv().ok();
                }
                let _ = out.flush();
            }
        })
}

fn log(report: &CallReport) {
    let call = &report.call_id;
    match report.result {
        Outcome::Ok => tracing::info!("call from {} ended: {report} [{call}]", report.from),
        Outcome::Failed => tracing::info!("call from {} {report} [{call}]", report.from),
    }
}

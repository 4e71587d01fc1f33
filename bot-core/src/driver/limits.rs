//! What the machine allows one process.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Raises the limit of open files to what the machine allows: a call takes two
/// sockets, and a recording one file.
pub(crate) fn raise_open_files() {
    match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok((soft, hard)) if soft < hard => {
            if let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
                tracing::warn!(%error, soft, "the limit of open files stays: many calls may not fit");
            }
        }
        Ok(_) => {}
        Err(error) => tracing::debug!(%error, "the limit of open files is not known"),
    }
}

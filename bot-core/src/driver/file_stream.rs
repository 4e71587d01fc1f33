//! Plays files that are too long to be kept decoded: a task reads them a piece
//! at a time, off the media threads.

use std::path::PathBuf;
use std::time::Duration;

use callbot_media::player::{FileStream, Playback as Player, pipe};

use crate::error::Result;
use crate::sound::{How, bad, blocking};

/// Audio read at a time.
const PIECE: Duration = Duration::from_millis(500);
/// Audio that waits to be played.
const AHEAD: Duration = Duration::from_secs(2);

/// Opens `path` and begins to read it; an unreadable file is an error here.
pub(crate) async fn open(path: PathBuf, how: How) -> Result<Player> {
    let mut file = {
        let path = path.clone();
        blocking(move || {
            let mut file = FileStream::open(&path, how.rate).map_err(|error| bad(&path, error))?;
            if !how.seek.is_zero() {
                file.seek(how.seek).map_err(|error| bad(&path, error))?;
            }
            Ok(file)
        })
        .await?
    };
    let (writer, reader) = pipe(how.rate, AHEAD);
    let samples = how.rate as usize * PIECE.as_millis() as usize / 1000;
    let mut piece = vec![0_i16; samples];
    tokio::spawn(async move {
        while !writer.is_closed() {
            if writer.room() < samples {
                tokio::time::sleep(PIECE / 2).await;
                continue;
            }
            let read = blocking(move || {
                let read = file.read(&mut piece);
                Ok((file, piece, read))
            })
            .await;
            let Ok((back, buffer, read)) = read else {
                return;
            };
            (file, piece) = (back, buffer);
            match read {
                Ok(0) if how.repeat && file.seek(Duration::ZERO).is_ok() => {}
                Ok(0) => return,
                Ok(count) => {
                    writer.write(&piece[..count]);
                }
                Err(error) => {
                    tracing::warn!(file = %path.display(), %error, "a sound ends early");
                    return;
                }
            }
        }
    });
    Ok(Player::live(Box::new(reader)))
}

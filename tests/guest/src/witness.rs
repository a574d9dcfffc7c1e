//! Hears from scripts in the machine that they run, and keeps it where no power cut reaches. A script
//! goes on only after its mark was taken. Never forgets one.

use anyhow::Result;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Longest mark.
const MARK_BYTES_MAX: u64 = 64;

/// A script ran.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// Its word.
    pub word: String,
    /// The disk's position when it was heard: whatever it stands for was written before.
    pub position: usize,
}

/// The one who hears. The listening thread ends with the process.
#[derive(Debug)]
pub struct Witness {
    address: SocketAddr,
    marks: Arc<Mutex<Vec<Mark>>>,
}

impl Witness {
    /// Listens on loopback; `position` is asked for at each mark.
    ///
    /// # Errors
    /// When no port can be bound.
    pub fn start(position: impl Fn() -> usize + Send + 'static) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let marks = Arc::<Mutex<Vec<Mark>>>::default();
        let for_thread = Arc::clone(&marks);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A machine that dies before its whole word is here has told nothing.
                if let Ok(Some(word)) = hear(&stream) {
                    let position = position();
                    lock(&for_thread).push(Mark { word, position });
                    let _ = (&stream).write_all(b"heard\n");
                }
            }
        });
        Ok(Self { address, marks })
    }

    /// The line of a script that tells its mark, and waits until it was heard.
    #[must_use]
    pub fn line(&self, word: &str) -> String {
        let port = self.address.port();
        format!("echo {word} | nc {} {port} >/dev/null", crate::HOST)
    }

    /// All marks, in order.
    #[must_use]
    pub fn marks(&self) -> Vec<Mark> {
        lock(&self.marks).clone()
    }

    /// How often a mark was heard.
    #[must_use]
    pub fn times(&self, word: &str) -> usize {
        let marks = lock(&self.marks);
        marks.iter().filter(|mark| mark.word == word).count()
    }
}

fn lock(marks: &Mutex<Vec<Mark>>) -> MutexGuard<'_, Vec<Mark>> {
    marks.lock().unwrap_or_else(PoisonError::into_inner)
}

fn hear(stream: &TcpStream) -> Result<Option<String>> {
    stream.set_read_timeout(Some(holdfast_e2e::PATIENCE))?;
    let mut line = String::new();
    BufReader::new(stream.take(MARK_BYTES_MAX)).read_line(&mut line)?;
    Ok(line.strip_suffix('\n').map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_kept_with_its_position_before_its_script_goes_on() {
        let witness = Witness::start(|| 7).unwrap();
        for word in ["a\n", "half"] {
            let mut script = TcpStream::connect(witness.address).unwrap();
            script.write_all(word.as_bytes()).unwrap();
            script.shutdown(std::net::Shutdown::Write).unwrap();
            let mut answer = String::new();
            script.read_to_string(&mut answer).unwrap();
            assert_eq!(answer.is_empty(), word == "half");
        }
        let word = "a".to_owned();
        assert_eq!(witness.marks(), [Mark { word, position: 7 }]);
        assert_eq!((witness.times("a"), witness.times("half")), (1, 0));
    }
}

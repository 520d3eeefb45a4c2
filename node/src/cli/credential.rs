//! `ringfort credential`: makes a verifier of a secret, to be written into a configuration in its place.

use std::io::Read;

use clap::{Args, ValueEnum};
use zeroize::Zeroizing;

use super::{Failure, print_line};
use crate::auth::{Clear, Credential, Secret, kdf::Kdf, ticket::TicketVerifier};

/// Make a verifier of a secret, for `principal.verifiers`.
///
/// Reads the secret from standard input up to the first line end, and prints one line. Whoever has the line cannot log in with it,
/// `wampcra` apart, but can try passwords on it: keep it like a secret.
#[derive(Debug, Args)]
pub(super) struct MakeCredential {
    /// The method it is for.
    #[arg(value_enum)]
    method: Method,
    /// How it is hashed. Default pbkdf2 for scram and wampcra; tickets are hashed fast unless this is given.
    #[arg(long, value_enum)]
    kdf: Option<KdfName>,
    /// Iterations of PBKDF2 or passes of Argon2id. Default 1000 for wampcra, else 100000 and 3.
    #[arg(long)]
    iterations: Option<u32>,
    /// Memory of Argon2id in KiB.
    #[arg(long, default_value_t = 65_536)]
    memory: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Method {
    Ticket,
    Wampcra,
    Scram,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum KdfName {
    Pbkdf2,
    Argon2id13,
}

/// The longest secret that is read.
const SECRET_BYTES_MAX: u64 = 4096;

impl MakeCredential {
    pub(super) fn run(self) -> Result<(), Failure> {
        let mut text = Zeroizing::new(String::new());
        let read = std::io::stdin().lock().take(SECRET_BYTES_MAX).read_to_string(&mut text);
        read.map_err(|error| Failure::new(format!("cannot read the secret from standard input: {error}")))?;
        let secret = text.lines().next().unwrap_or_default();
        if secret.len() < 8 {
            return Err(Failure::new(
                "the secret is shorter than 8 characters; write it to standard input",
            ));
        }
        let mut salt = [0; 16];
        getrandom::fill(&mut salt).map_err(|error| Failure::new(format!("no random numbers: {error}")))?;
        let credential = self.make(secret, salt);
        let credential = credential.ok_or_else(|| Failure::new("this cost cannot be paid; see ringfort credential --help"))?;
        print_line(&credential.to_text())
    }

    fn make(&self, secret: &str, salt: [u8; 16]) -> Option<Credential> {
        let kdf = match self.kdf {
            Some(KdfName::Argon2id13) => Kdf::Argon2id {
                memory: self.memory,
                iterations: self.iterations.unwrap_or(3),
            },
            Some(KdfName::Pbkdf2) | None => Kdf::Pbkdf2 {
                iterations: self.iterations.unwrap_or(100_000),
            },
        };
        let clear = match self.method {
            Method::Ticket => {
                let kdf = self.kdf.map(|_| kdf);
                return TicketVerifier::of(secret.as_bytes(), kdf, salt.to_vec()).map(Credential::Ticket);
            }
            Method::Wampcra if self.kdf == Some(KdfName::Argon2id13) => return None,
            Method::Wampcra => Clear::WampCra {
                secret: Secret::new(secret),
                iterations: self.iterations.unwrap_or(1000),
            },
            Method::Scram => Clear::Scram {
                password: Secret::new(secret),
                kdf,
            },
        };
        clear.credential(salt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_makes_a_line_that_reads_back_and_holds_no_secret() {
        for (method, kdf, start) in [
            (Method::Ticket, None, "ticket:sha256:"),
            (Method::Ticket, Some(KdfName::Argon2id13), "ticket:argon2id13:64:2:"),
            (Method::Wampcra, None, "wampcra:pbkdf2:2:32:"),
            (Method::Scram, None, "scram:pbkdf2:2:"),
            (Method::Scram, Some(KdfName::Argon2id13), "scram:argon2id13:64:2:"),
        ] {
            let command = MakeCredential {
                method,
                kdf,
                iterations: Some(2),
                memory: 64,
            };
            let made = command.make("open-sesame", [7; 16]).unwrap();
            let text = made.to_text();
            assert!(text.starts_with(start), "{text}");
            assert!(!text.contains("sesame"));
            assert_eq!(text.parse::<Credential>().unwrap(), made);
        }
        let free = MakeCredential {
            method: Method::Scram,
            kdf: None,
            iterations: Some(0),
            memory: 64,
        };
        assert!(free.make("open-sesame", [7; 16]).is_none());
    }
}

//! Looks at a port with TLS from outside, by ClientHellos written to the byte: which versions, suites and compressions it takes.
//!
//! What a TLS library would not say any more, such as SSL 3 or RC4, can only be asked for so. Every two-byte code of the registry of suites up
//! to the last one that was assigned is offered.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};

/// What a port takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// The versions, as they are written on the wire: 0x0303 for TLS 1.2.
    pub versions: Vec<u16>,
    /// The suites of TLS 1.2, in the port's order of preference.
    pub suites_12: Vec<u16>,
    /// Those of TLS 1.3.
    pub suites_13: Vec<u16>,
    /// It takes compression of TLS 1.2 and before.
    pub compression: bool,
}

/// What a port says to a ClientHello.
enum Answer {
    /// A version, a suite and a compression.
    Hello(u16, u16, u8),
    /// An alert, or a close.
    Refused,
}

const SSL3: u16 = 0x0300;
const TLS10: u16 = 0x0301;
const TLS11: u16 = 0x0302;
const TLS12: u16 = 0x0303;
const TLS13: u16 = 0x0304;
const PATIENCE: Duration = Duration::from_secs(10);

/// Every suite that anybody has assigned a code, without the signals.
fn all_suites() -> Vec<u16> {
    let old = 0x0001..=0x00C7;
    let ec = 0xC001..=0xC0FF;
    let late = (0xCC13..=0xCC15)
        .chain(0xCCA8..=0xCCAE)
        .chain(0xD001..=0xD005)
        .chain(0xFEFE..=0xFEFF);
    old.chain(ec).chain(late).collect()
}

/// Asks for everything, one connection after the other.
///
/// # Errors
/// If nobody listens, or what comes back is no TLS at all.
pub fn scan(address: SocketAddr) -> Result<Findings> {
    let mut findings = Findings::default();
    for version in [SSL3, TLS10, TLS11] {
        // The old codes in two halves: some servers refuse lists that are too long.
        for suites in all_suites().chunks(200) {
            if let Answer::Hello(chosen, ..) = ask(address, version, suites, &[0], false)? {
                findings.versions.push(chosen);
            }
        }
    }
    for suites in all_suites().chunks(200) {
        findings.suites_12.extend(chosen(address, TLS12, suites)?);
    }
    if !findings.suites_12.is_empty() {
        findings.versions.push(TLS12);
    }
    findings.suites_13 = chosen(address, TLS13, &[0x1301, 0x1302, 0x1303, 0x1304, 0x1305, 0x1306, 0x1307])?;
    if !findings.suites_13.is_empty() {
        findings.versions.push(TLS13);
    }
    if let Some(suite) = findings.suites_12.first() {
        let both = ask(address, TLS12, &[*suite], &[1, 0], false)?;
        let only = ask(address, TLS12, &[*suite], &[1], false)?;
        findings.compression = [both, only].iter().any(|answer| matches!(answer, Answer::Hello(_, _, 1)));
    }
    Ok(findings)
}

/// The suites that are taken, best first: what was chosen is taken out of the list until nothing is.
fn chosen(address: SocketAddr, version: u16, suites: &[u16]) -> Result<Vec<u16>> {
    let (mut left, mut taken) = (suites.to_vec(), Vec::new());
    while !left.is_empty() {
        match ask(address, version, &left, &[0], version == TLS13)? {
            Answer::Hello(said, suite, _) => {
                ensure!(said == version, "asked for {version:#06x}, was given {said:#06x}");
                ensure!(left.contains(&suite), "{suite:#06x} was not offered");
                left.retain(|other| *other != suite);
                taken.push(suite);
            }
            Answer::Refused => break,
        }
    }
    Ok(taken)
}

fn ask(address: SocketAddr, version: u16, suites: &[u16], compressions: &[u8], is_13: bool) -> Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).with_context(|| format!("connect to {address}"))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(&client_hello(version, suites, compressions, is_13))?;
    let mut head = [0; 5];
    if stream.read_exact(&mut head).is_err() {
        return Ok(Answer::Refused);
    }
    let mut body = vec![0; usize::from(u16::from_be_bytes([head[3], head[4]]))];
    stream.read_exact(&mut body).context("a record cut short")?;
    match (head[0], body.first()) {
        (21, _) => Ok(Answer::Refused),
        (22, Some(2)) => server_hello(&body).context("a ServerHello that cannot be read"),
        _ => bail!("{address} answers with {head:?}, which is no TLS"),
    }
}

fn server_hello(body: &[u8]) -> Option<Answer> {
    let u16_at = |at: usize| Some(u16::from_be_bytes([*body.get(at)?, *body.get(at + 1)?]));
    let mut version = u16_at(4)?;
    let at = 38 + 1 + usize::from(*body.get(38)?);
    let (suite, compression) = (u16_at(at)?, *body.get(at + 2)?);
    let mut at = at + 5;
    while let (Some(kind), Some(len)) = (u16_at(at), u16_at(at + 2)) {
        if kind == SUPPORTED_VERSIONS {
            version = u16_at(at + 4)?;
        }
        at += 4 + usize::from(len);
    }
    Some(Answer::Hello(version, suite, compression))
}

const SUPPORTED_VERSIONS: u16 = 43;

fn client_hello(version: u16, suites: &[u16], compressions: &[u8], is_13: bool) -> Vec<u8> {
    let list16 = |items: &[u16]| -> Vec<u8> {
        let bytes: Vec<u8> = items.iter().flat_map(|item| item.to_be_bytes()).collect();
        [&(bytes.len() as u16).to_be_bytes()[..], &bytes].concat()
    };
    let extension = |kind: u16, body: Vec<u8>| [&kind.to_be_bytes()[..], &(body.len() as u16).to_be_bytes(), &body].concat();
    // Signatures and curves of all times, so that nothing fails for want of these.
    let signatures = [
        0x0403, 0x0503, 0x0603, 0x0807, 0x0804, 0x0805, 0x0806, 0x0401, 0x0501, 0x0601, 0x0203, 0x0201, 0x0202,
    ];
    let mut extensions = Vec::new();
    if version != SSL3 {
        extensions.extend(extension(10, list16(&[29, 23, 24, 25])));
        extensions.extend(extension(11, vec![1, 0]));
        extensions.extend(extension(13, list16(&signatures)));
        extensions.extend(extension(0xFF01, vec![0]));
    }
    if is_13 {
        extensions.extend(extension(SUPPORTED_VERSIONS, [&[2][..], &TLS13.to_be_bytes()].concat()));
        let mut share = vec![0, 36, 0, 29, 0, 32];
        share.extend([9; 32]);
        extensions.extend(extension(51, share));
    }
    let legacy = version.min(TLS12);
    let mut body = legacy.to_be_bytes().to_vec();
    body.extend([0x5A; 32]);
    body.push(0);
    body.extend(list16(suites));
    body.push(compressions.len() as u8);
    body.extend(compressions);
    if !extensions.is_empty() {
        body.extend((extensions.len() as u16).to_be_bytes());
        body.extend(extensions);
    }
    let mut message = vec![1];
    message.extend(&(body.len() as u32).to_be_bytes()[1..]);
    message.extend(body);
    let record = if version == SSL3 { SSL3 } else { TLS10 };
    let mut bytes = vec![22];
    bytes.extend(record.to_be_bytes());
    bytes.extend((message.len() as u16).to_be_bytes());
    bytes.extend(message);
    bytes
}

/// True if a client may begin another handshake on a connection of TLS 1.2, which OpenSSL is asked to try.
///
/// # Errors
/// If there is no openssl program, or the port does not take its first handshake.
pub fn renegotiates(address: SocketAddr) -> Result<bool> {
    let mut child = Command::new("openssl")
        .args(["s_client", "-tls1_2", "-connect", &address.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("openssl")?;
    let mut input = child.stdin.take().context("its input")?;
    let asking = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(700));
        let _ = input.write_all(b"R\n");
        std::thread::sleep(Duration::from_millis(1500));
    });
    let output = child.wait_with_output()?;
    let _ = asking.join();
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    ensure!(said.contains("Cipher is ECDHE"), "no handshake:\n{said}");
    ensure!(said.contains("RENEGOTIATING"), "it was not tried:\n{said}");
    let refused = ["no renegotiation", "handshake failure", "unexpected", "alert", "error:"];
    let after = said.split("RENEGOTIATING").nth(1).unwrap_or_default();
    Ok(!refused.iter().any(|word| after.contains(word)))
}

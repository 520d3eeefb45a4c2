//! When certificates run out, read from their files: what is shown is what the next start, or the next look at the files, would find.

use std::path::Path;

use rustls_pki_types::{CertificateDer, pem::PemObject};
use x509_parser::prelude::{FromDer, X509Certificate};

/// When the first certificate of a PEM file runs out, in seconds since 1970; `None` if the file has none or cannot be read.
pub fn expires(file: &Path) -> Option<f64> {
    let certificates = CertificateDer::pem_file_iter(file).ok()?.filter_map(Result::ok);
    let ends = certificates.filter_map(|der| {
        let (_, certificate) = X509Certificate::from_der(&der).ok()?;
        Some(certificate.validity().not_after.timestamp())
    });
    ends.min().map(|seconds| seconds as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_certificate_to_run_out_counts() {
        let dir = tempfile::tempdir().unwrap();
        let make = |year| {
            let mut params = rcgen::CertificateParams::new(vec!["n1".to_owned()]).unwrap();
            params.not_after = rcgen::date_time_ymd(year, 1, 1);
            let key = rcgen::KeyPair::generate().unwrap();
            params.self_signed(&key).unwrap().pem()
        };
        let file = dir.path().join("chain.pem");
        std::fs::write(&file, make(2040) + &make(2031)).unwrap();
        assert_eq!(expires(&file), Some(1_924_992_000.0), "the first of January 2031");
        std::fs::write(&file, "no certificate").unwrap();
        assert_eq!(expires(&file), None);
        assert_eq!(expires(&dir.path().join("nothing")), None);
    }
}

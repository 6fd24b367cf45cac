//! `journeyd restore FILE`: a backup takes the place of the store of a daemon that is stopped.

use std::os::unix::fs::DirBuilderExt as _;

use crate::cli::{Exit, RestoreArgs, open_config, out, own_fault, say};
use crate::clock::now;
use crate::store::{StoreError, lock, read::is_store};

pub fn restore(args: &RestoreArgs) -> Exit {
    let config = match open_config(&args.config) {
        Ok((config, _)) => config,
        Err(exit) => return exit,
    };
    let shown = args.file.display();
    if let Err(error) = is_store(&args.file) {
        let text = match error {
            StoreError::NotOurs => "it is no backup of journeyd".to_owned(),
            error => error.to_string(),
        };
        say(&format!("error: cannot restore from {shown}: {text}"));
        return Exit::Usage;
    }
    let dir = &config.store.dir;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
    if let Err(error) = made {
        return own_fault(&format!("cannot make {}: {error}", dir.display()));
    }
    let _lock = match lock(dir) {
        Ok(lock) => lock,
        Err(StoreError::Locked { holder }) => {
            say(&format!("error: a journeyd ({holder}) is using {}; stop it first", dir.display()));
            return Exit::Usage;
        }
        Err(error) => return own_fault(&format!("cannot use {}: {error}", dir.display())),
    };
    match put_in_place(&args.file, dir) {
        Ok(Some(aside)) => out(&format!("{shown} is the store now; the one before is kept as {}\n", aside.display())),
        Ok(None) => out(&format!("{shown} is the store now\n")),
        Err(error) => own_fault(&format!("cannot put it into {}: {error}", dir.display())),
    }
}

/// The store that was there is set aside, never deleted.
fn put_in_place(file: &std::path::Path, dir: &std::path::Path) -> std::io::Result<Option<std::path::PathBuf>> {
    let store = dir.join("state.db");
    let fresh = dir.join("state.db.restoring");
    std::fs::copy(file, &fresh)?;
    std::fs::File::open(&fresh)?.sync_all()?;
    let mut aside = None;
    if store.exists() {
        let kept = dir.join(format!("state.db.before-restore-{}", now().micros() / 1_000_000));
        std::fs::rename(&store, &kept)?;
        for suffix in ["-wal", "-shm"] {
            let from = dir.join(format!("state.db{suffix}"));
            if from.exists() {
                std::fs::rename(&from, format!("{}{suffix}", kept.display()))?;
            }
        }
        aside = Some(kept);
    }
    std::fs::rename(&fresh, &store)?;
    std::fs::File::open(dir)?.sync_all()?;
    Ok(aside)
}

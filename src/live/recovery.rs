//! A start: what the data folder holds, and where the engine goes on.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use event::control::{Change, Control};
use event::{
    EventTime, Interner, Position, RecordBlock, RecordFlags, RecordKind, RecordRef, SourceId,
    StreamId,
};
use ingest::log::{LogError, LogReader, LogWriter, RealFiles};
use rules::engine::{Engine, RestoreError, restore_symbols};
use sinks::Store;

use super::Start;
use super::epoch::{Epoch, Reign};
use super::reloads::{Refusal, examined};
use super::rulebooks::{Kept, Rulebooks, folder};
use super::snapshots::{Chain, Snapshots};
use crate::pipeline::Pipeline;
use crate::setup::Setup;

/// Bytes of log looked through at once.
const LOOK_BYTES: usize = 1 << 20;

/// What is found in the data folder, or begun there.
pub struct Recovered {
    /// What the program runs under once the log is read: its sources, sinks, address.
    pub setup: Arc<Setup>,
    /// What the engine begins under.
    pub engine: Arc<Setup>,
    pub pipeline: Pipeline,
    pub rulebooks: Arc<Rulebooks>,
    pub store: Store,
    /// What is added to the number of each site's outputs.
    pub bases: std::collections::BTreeMap<String, u64>,
    /// Where the engine goes on reading the log.
    pub from: Position,
    /// Why the folder's configuration did not take over, where it did not.
    pub refused: Option<Refusal>,
}

/// Where the engine begins.
struct Begin<'a> {
    epoch: Epoch,
    /// The snapshot it begins with; else with empty state.
    chain: Option<&'a Chain>,
    from: Position,
    /// The configuration in force there, and at the end of the log.
    hashes: (String, String),
}

/// The newest snapshot with the log behind it, under the configuration that was in force there. A
/// folder that holds another one than was in force at the end of the log is a reload, like any
/// other: its record is put there.
pub fn recover(
    start: &Start,
    snapshots: &mut Snapshots,
    writer: &mut LogWriter,
) -> anyhow::Result<Recovered> {
    let path = start.data.join("epoch.json");
    let known = Epoch::load(&path)?;
    let written = writer.progress().written();
    let interner = Interner::shared();
    let chain = snapshots.take_newest().filter(|chain| chain.last().position <= written);
    let chain = chain.filter(|_| known.is_some() && !start.afresh);
    let from = known.as_ref().map_or(Position(0), |epoch| epoch.from);
    let log =
        || LogReader::open(&start.data.join("log"), Arc::new(RealFiles), writer.progress(), from);
    let chain = match chain {
        Some(chain) => with_symbols(chain, &interner, || log().map(drop))?,
        None => None,
    };
    let folder = folder(&start.data)?;
    let kept = Kept { dir: &folder, interner: &interner };
    let loaded = Setup::load_with(&start.config, interner.clone(), &[]);
    let begun = match known.clone().filter(|_| !start.afresh) {
        Some(epoch) => Some(begin(start, epoch, chain.as_ref(), writer)?),
        None => None,
    };
    // Examined is only what takes over from another.
    let newest = begun.as_ref().map(|begin| begin.hashes.1.as_str());
    let loaded = match loaded {
        Ok(setup) if newest == Some(&setup.hash) => Ok(setup),
        other => examined(other),
    };
    let (setup, refused) = match (loaded, newest) {
        (Ok(setup), _) => (setup, None),
        // A broken folder does not keep a site unguarded: the last one that was whole goes on.
        (Err(refusal), Some(newest)) => (kept.load(newest)?, Some(refusal)),
        (Err(refusal), None) => anyhow::bail!("{}", refusal.reason),
    };
    kept.keep(&setup)?;
    let store = Store::open(start.data.join(&setup.config.store))?;
    let Begin { epoch, chain, from, hashes } = match begun {
        Some(begin) => begin,
        None => {
            // Snapshots of an earlier life would be taken for this one's.
            snapshots.forget()?;
            let from = if start.afresh { written } else { Position(0) };
            let epoch = first_epoch(known, &setup, from, &store)?;
            let hashes = (setup.hash.clone(), setup.hash.clone());
            Begin { epoch, chain: None, from, hashes }
        }
    };
    let setup = Arc::new(setup);
    let engine =
        if hashes.0 == setup.hash { setup.clone() } else { Arc::new(kept.load(&hashes.0)?) };
    let pipeline = match chain {
        Some(chain) => {
            let parts: Vec<_> = chain.parts.iter().map(|p| p.engine.as_slice()).collect();
            let (plan, options) = (engine.plan.clone(), engine.options(1));
            let restored = Engine::restore(plan, interner.clone(), options, &parts)?;
            Pipeline::with(&engine, restored, chain.last().books.clone())?
        }
        None => Pipeline::new(&engine, 1)?,
    };
    let bases = epoch.bases.clone();
    let rulebooks = Rulebooks::new(&start.data, interner.clone(), epoch)?;
    rulebooks.hold(setup.clone());
    rulebooks.hold(engine.clone());
    if hashes.1 != setup.hash {
        tracing::info!(config = setup.hash, "the configuration has changed: it takes over");
        record_reload(writer, &setup.hash)?;
    }
    let rulebooks = Arc::new(rulebooks);
    Ok(Recovered { setup, engine, pipeline, rulebooks, store, bases, from, refused })
}

/// A chain whose texts are interned. One of another release's format is left aside where the log, which
/// `log` looks for, still has all that it stands for.
fn with_symbols(
    chain: Chain,
    interner: &Arc<Interner>,
    log: impl Fn() -> Result<(), LogError>,
) -> anyhow::Result<Option<Chain>> {
    for part in &chain.parts {
        match restore_symbols(&part.engine, interner) {
            Err(error @ RestoreError::Version(_)) => {
                log().with_context(|| {
                    format!(
                        "{error}, and the log no longer has all that it stands for: start the \
                         release that wrote it, or begin with another data folder"
                    )
                })?;
                tracing::warn!(%error, "the state is made again from the log");
                return Ok(None);
            }
            other => other?,
        }
    }
    Ok(Some(chain))
}

/// Where an engine of an earlier run goes on.
fn begin<'a>(
    start: &Start,
    epoch: Epoch,
    chain: Option<&'a Chain>,
    writer: &LogWriter,
) -> anyhow::Result<Begin<'a>> {
    let from = chain.map_or(epoch.from, |chain| chain.last().position);
    let first = match chain {
        Some(chain) => chain.last().config.clone(),
        None => epoch.at(from).config.clone(),
    };
    let last = last_reload(&start.data.join("log"), writer, from)?;
    let last = last.unwrap_or_else(|| first.clone());
    Ok(Begin { epoch, chain, from, hashes: (first, last) })
}

/// A life of the engine that begins with empty state.
fn first_epoch(
    known: Option<Epoch>,
    setup: &Setup,
    from: Position,
    store: &Store,
) -> anyhow::Result<Epoch> {
    let mut reigns = known.map(|epoch| epoch.reigns).unwrap_or_default();
    reigns.retain(|reign| reign.from < from);
    let (config, recorded) = (setup.hash.clone(), crate::now());
    reigns.push(Reign { config, from, by: "start".into(), reason: String::new(), recorded });
    Ok(Epoch { from, bases: store.emitted_seq()?, reigns })
}

/// The last configuration that took over in the log from a position on.
fn last_reload(dir: &Path, writer: &LogWriter, from: Position) -> anyhow::Result<Option<String>> {
    let progress = writer.progress();
    let mut reader =
        LogReader::open(dir, Arc::new(RealFiles), progress.clone(), from)?.whole_only();
    let (mut block, mut last) = (RecordBlock::new(), None);
    while reader.position() < progress.written() {
        block.clear();
        reader.read(&mut block, LOOK_BYTES)?;
        for record in block.iter().filter(|record| record.kind == RecordKind::Control) {
            if let Ok(Control { change: Change::Reload(hash), .. }) = Control::parse(record.payload)
            {
                last = Some(hash);
            }
        }
    }
    Ok(last)
}

/// Puts the record of a take-over at the end of the log, durable when it returns.
fn record_reload(writer: &mut LogWriter, hash: &str) -> anyhow::Result<()> {
    let change = Change::Reload(hash.to_owned());
    let control = Control { by: "start".into(), reason: String::new(), change };
    let mut records = control_record(&control, crate::now());
    writer.append(&mut records)?;
    writer.syncer().sync().context("the record of the take-over")?;
    Ok(())
}

/// A control record as it goes into the log.
pub fn control_record(control: &Control, recorded: EventTime) -> RecordBlock {
    let mut records = RecordBlock::new();
    records.push(&RecordRef {
        kind: RecordKind::Control,
        flags: RecordFlags::default(),
        stream: StreamId(0),
        source: SourceId(0),
        recorded,
        position: Position(0),
        topic: b"",
        payload: &control.payload(),
        room: b"",
    });
    records
}

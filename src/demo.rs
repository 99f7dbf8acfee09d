//! `demo`: an MQTT broker in this process, the simulated site Harbour North publishing to it over
//! TCP, the whole pipeline, and the console.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use event::{EventTime, TimeSpan};
use ingest::source::settings::{Kind, SourceSettings};
use rumqttc::{Client, Event, MqttOptions, Packet, QoS};
use workload::harbour::{Message, story};

use crate::cli::DemoArgs;
use crate::live::{Program, Start};
use crate::run::{runtime, serve, stopped};

/// How long broker and subscription may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs the command.
pub fn demo(args: &DemoArgs) -> anyhow::Result<()> {
    let config = match &args.config {
        Some(dir) => dir.clone(),
        None => shipped_config()?,
    };
    let start = match &args.start {
        None => crate::now(),
        Some(text) => EventTime::parse_rfc3339(text.as_bytes())
            .with_context(|| format!("--start {text}: write RFC 3339, 2026-11-23T22:00:00Z"))?,
    };
    if !(args.speed > 0.0 && args.speed.is_finite()) {
        bail!("--speed {}: write a number above 0, such as 1 or 10", args.speed);
    }
    let port = broker()?;
    // Each demo is a night of its own: the engine begins afresh, the store keeps what it has.
    let begin = Start { config, data: args.data.clone(), afresh: true, snapshot_bytes: 16 << 20 };
    let runtime = runtime()?;
    let _guard = runtime.enter();
    let stopped = stopped()?;
    let (speed, seed) = (args.speed, args.seed);
    let program = Program::start(&begin, |sources| connect_to(sources, port, speed))?;
    let address = args.listen.to_string();
    let messages = story(args.seed, start);
    let live = program.live.clone();
    let publisher = move || {
        let connected = || live.sources().iter().all(|(.., state)| state.connected);
        wait(connected, "the program does not subscribe to the broker")?;
        publish(port, &messages, start, speed)?;
        println!("story played: {} messages, seed {seed}", messages.len());
        anyhow::Ok(())
    };
    let failing = program.live.clone();
    let ready = move |at: SocketAddr| {
        banner(at, port, start, args);
        std::thread::spawn(move || {
            if let Err(error) = publisher() {
                failing.fail(format!("the simulated site: {error:#}"));
            }
        });
    };
    let limit = args.exit_after;
    let stop = async move {
        match limit {
            None => stopped.await,
            Some(seconds) => tokio::select! {
                () = stopped => {}
                () = tokio::time::sleep(Duration::from_secs_f64(seconds.max(0.0))) => {}
            },
        }
    };
    runtime.block_on(serve(program, &address, ready, stop))
}

fn banner(at: SocketAddr, port: u16, start: EventTime, args: &DemoArgs) {
    println!("Portcullis demo: the night shift of Harbour North, simulated");
    println!("  console    http://{at}");
    println!("  incidents  http://{at}/api/v1/incidents");
    println!("  broker     mqtt://127.0.0.1:{port}   (try: mosquitto_sub -p {port} -t '#' -v)");
    println!("  data       {}", args.data.display());
    println!("  story      seed {}, from {start}, speed {}", args.seed, args.speed);
    println!(
        "The first incident comes within 20 s; the fence and the forged seal within 2 minutes."
    );
    println!("Stop with Ctrl-C.");
    println!("listening on http://{at}");
}

/// The model site's configuration: beside the working folder, or where the program was built.
fn shipped_config() -> anyhow::Result<PathBuf> {
    let name = "config/harbour-north";
    let places = [PathBuf::from(name), Path::new(env!("CARGO_MANIFEST_DIR")).join(name)];
    let found = places.iter().find(|p| p.join("portcullis.yaml").is_file());
    found.cloned().with_context(|| format!("{name} is not here: name it with --config DIR"))
}

/// How much later than another topic's a message may come out of the broker, by our own clock.
const BROKER_DISORDER: TimeSpan = TimeSpan(500_000);

/// Points every MQTT source at the broker in this process. Where the night runs faster, the broker's
/// disorder is longer by the night's clock, and waited for.
fn connect_to(sources: &mut [SourceSettings], broker: u16, speed: f64) {
    let disorder = TimeSpan((BROKER_DISORDER.0 as f64 * speed) as i64);
    for source in sources {
        source.slack = source.slack.max(disorder);
        if let Kind::Mqtt { host, port, username, password_env, .. } = &mut source.kind {
            *host = "127.0.0.1".to_owned();
            *port = broker;
            (*username, *password_env) = (None, None);
        }
    }
}

/// Starts the broker on a free port of loopback.
fn broker() -> anyhow::Result<u16> {
    let listen = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let connections = rumqttd::ConnectionSettings {
        connection_timeout_ms: 5_000,
        max_payload_size: 1 << 20,
        max_inflight_count: 1_000,
        auth: None,
        external_auth: None,
        dynamic_filters: true,
    };
    let server = rumqttd::ServerSettings {
        name: "demo".into(),
        listen,
        tls: None,
        next_connection_delay_ms: 1,
        connections,
    };
    let router = rumqttd::RouterConfig {
        max_connections: 100,
        max_outgoing_packet_count: 1_000,
        max_segment_size: 10 << 20,
        max_segment_count: 20,
        ..Default::default()
    };
    let v4 = Some([("demo".to_owned(), server)].into());
    let mut broker = rumqttd::Broker::new(rumqttd::Config { router, v4, ..Default::default() });
    std::thread::Builder::new().name("broker".into()).spawn(move || {
        if let Err(error) = broker.start() {
            tracing::error!(%error, "the demo's broker has ended");
        }
    })?;
    let timeout = Duration::from_millis(100);
    wait(
        || TcpStream::connect_timeout(&listen, timeout).is_ok(),
        "the demo's broker does not listen",
    )?;
    Ok(listen.port())
}

fn wait(done: impl Fn() -> bool, what: &str) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        if Instant::now() > deadline {
            bail!("{what}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Publishes the night at its own pace, and waits until the broker has all of it.
fn publish(port: u16, messages: &[Message], start: EventTime, speed: f64) -> anyhow::Result<()> {
    let mut options = MqttOptions::new("harbour-north", "127.0.0.1", port);
    options.set_inflight(200);
    options.set_keep_alive(Duration::from_secs(30));
    let (client, mut connection) = Client::new(options, 200);
    let total = messages.len();
    let acked = std::thread::spawn(move || {
        let mut acked = 0;
        for event in connection.iter() {
            match event {
                Ok(Event::Incoming(Packet::PubAck(_))) => acked += 1,
                Ok(_) => {}
                Err(error) => bail!("{error}"),
            }
            if acked == total {
                break;
            }
        }
        Ok(())
    });
    let begun = Instant::now();
    for message in messages {
        let due = message.at.since(start).0 as f64 / 1e6 / speed;
        let left = Duration::from_secs_f64(due.max(0.0)).saturating_sub(begun.elapsed());
        if !left.is_zero() {
            std::thread::sleep(left);
        }
        let payload = message.payload.as_slice();
        client.publish(&message.topic, QoS::AtLeastOnce, message.retained, payload)?;
    }
    match acked.join() {
        Ok(result) => result,
        Err(_) => bail!("the publisher's connection ended"),
    }
}

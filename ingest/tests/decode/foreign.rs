//! The shipped mappings.

use std::path::Path;

use super::Bench;

fn shipped(names: &[&str]) -> Bench {
    Bench::new(names, "", "")
}

/// A line whose identity is a hash of the content: all but the hash.
fn without_id(line: &str) -> String {
    let mut words: Vec<_> = line.split(' ').collect();
    if let Some((device, id)) = words.get(1).and_then(|word| word.rsplit_once('/')) {
        assert!(id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{line}");
        words[1] = device;
    }
    words.join(" ")
}

/// A state of a tracked object.
fn object(time: &str, zones: &str, false_positive: bool) -> String {
    format!(
        r#"{{"id":"17.5-ab","camera":"quay","frame_time":{time},"label":"person","score":0.75,
            "sub_label":null,"false_positive":{false_positive},"entered_zones":{zones},
            "recognized_license_plate":null,"box":[1,2,3,4]}}"#
    )
}

#[test]
fn frigate_tells_each_zone_once() {
    let mut bench = shipped(&["frigate", "frigate-availability"]);
    let payload = |before: &str, after: &str, false_positive| {
        let before = object("1700000000.25", before, false_positive);
        let after = object("1700000001.5", after, false_positive);
        format!(r#"{{"type":"update","before":{before},"after":{after}}}"#)
    };
    let entered = bench.read("frigate/events", payload("[\"a\"]", "[\"a\",\"b\",\"c\"]", false));
    let lines: Vec<_> = entered.lines().collect();
    assert_eq!(lines.len(), 2, "{entered}");
    for (line, zone) in lines.into_iter().zip(["b", "c"]) {
        let wanted = format!(
            "ObjectDetected camera/quay/17.5-ab@{zone} 2023-11-14T22:13:21.500Z \
             zone={zone} object=person track=17.5-ab score=0.75 camera=quay"
        );
        assert_eq!(line, wanted);
    }
    assert_eq!(bench.read("frigate/events", payload("[\"a\"]", "[\"a\"]", false)), "ignored");
    assert_eq!(bench.read("frigate/events", payload("[]", "[\"a\"]", true)), "ignored");
    assert_eq!(bench.read("frigate/events", r#"{"type":"new"}"#), "missing_field");
    assert_eq!(bench.read("frigate/reviews", "{}"), "no_mapping");
    assert!(bench.read("frigate/available", "online").starts_with("DeviceOnline camera/frigate/"));
    assert!(
        bench.read("site/frigate/available", "offline").starts_with("LastWill camera/frigate/")
    );
    assert_eq!(bench.read("frigate/available", "perhaps"), "invalid_value");
}

#[test]
fn axis_values_are_strings_and_times_may_be_missing() {
    let mut bench = shipped(&["axis", "onvif-mqtt"]);
    let pir = |state: &str| {
        format!(
            r#"{{"timestamp":1700000001500,"topic":"onvif:Device/axis:Sensor/PIR",
                "message":{{"source":{{"sensor":"0"}},"key":{{}},"data":{{"state":"{state}"}}}}}}"#
        )
    };
    let topic = "axis/ACCC8E/event/tns:onvif/Device/tns:axis/Sensor/PIR/$source/sensor/0";
    assert_eq!(
        without_id(&bench.read(topic, pir("1"))),
        "MotionDetected axis/ACCC8E 2023-11-14T22:13:21.500Z active=true code=0"
    );
    assert_eq!(bench.read(topic, pir("0")), "ignored");
    assert_eq!(bench.read(topic, pir("2")), "invalid_value");
    let analytics = |active: &str| {
        format!(
            r#"{{"topic":"onvif:CameraApplicationPlatform/axis:ObjectAnalytics/Device1Scenario1",
                "message":{{"source":{{"device":"1"}},
                "data":{{"classTypes":"human","active":"{active}"}}}}}}"#
        )
    };
    assert_eq!(
        without_id(&bench.read("axis/ACCC8E/event/x", analytics("1"))),
        "ObjectDetected axis/ACCC8E 2026-01-02T03:04:05.000Z object=human camera=ACCC8E \
         code=onvif:CameraApplicationPlatform/axis:ObjectAnalytics/Device1Scenario1"
    );
    assert_eq!(bench.read("axis/ACCC8E/event/x", analytics("0")), "ignored");
    let crossed = r#"{"UtcTime":"2008-10-10T12:24:57.321Z",
        "Source":{"VideoSource":"1","AnalyticsConfiguration":"2","Rule":"Fence1"},
        "Data":{"ObjectId":"15"}}"#;
    let topic = "cam7/onvif-ej/RuleEngine/LineDetector/Crossed/&1/2/Fence1";
    assert_eq!(
        without_id(&bench.read(topic, crossed)),
        "LineCrossed onvif/cam7 2008-10-10T12:24:57.321Z zone=Fence1 track=15 camera=1"
    );
    assert_eq!(bench.read(topic, &crossed[..40]), "invalid_json");
}

#[test]
fn a_contact_says_closed_where_it_says_true() {
    let mut bench = shipped(&["zigbee2mqtt-contact"]);
    let seen = r#""last_seen":"2024-04-08T21:21:36.794Z","linkquality":144"#;
    let topic = "zigbee2mqtt/dock-3";
    let closed = bench.read(topic, format!("{{\"contact\":true,{seen}}}"));
    let at = "2024-04-08T21:21:36.794Z door=dock-3";
    assert_eq!(without_id(&closed), format!("DoorClosed contact/dock-3 {at}"));
    assert_eq!(
        bench.read(topic, format!("{{{seen},\"contact\":true}}")),
        closed,
        "the same content is the same event"
    );
    let opened = bench.read(topic, format!("{{\"contact\":false,\"tamper\":true,{seen}}}"));
    let (opened, tamper) = opened.split_once('\n').unwrap();
    assert_eq!(without_id(opened), format!("DoorOpened contact/dock-3 {at}"));
    assert_eq!(without_id(tamper), format!("Tamper contact/dock-3 {at}"));
    assert_eq!(bench.read(topic, format!("{{\"contact\":\"ajar\",{seen}}}")), "invalid_value");
    assert_eq!(bench.read(topic, format!("{{\"occupancy\":true,{seen}}}")), "missing_field");
}

/// What the makers print in their own documents, where it is at hand.
#[test]
fn the_makers_own_samples_are_read() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/payloads");
    if !dir.is_dir() {
        return super::skipped::skipped("the makers' payloads are not there");
    }
    let mut bench = shipped(&[
        "frigate",
        "frigate-availability",
        "axis",
        "onvif-mqtt",
        "zigbee2mqtt-contact",
        "cloudevents",
    ]);
    let mut check = |topic: &str, name: &str, wanted: &str| {
        let payload = std::fs::read(dir.join(name)).unwrap();
        let read = bench.read(topic, payload.trim_ascii());
        assert_eq!(without_id(&read), wanted, "{name}");
    };
    let line = "MyDevice/onvif-ej/RuleEngine/LineDetector/Crossed/&1/2/MyImportantFence1";
    check("frigate/events", "frigate_events.json", "ignored");
    check("axis/S/event/x", "axis_mqtt_pir.json", "ignored");
    check("axis/S/event/x", "axis_mqtt_objectanalytics.json", "ignored");
    let crossed = "LineCrossed onvif/MyDevice 2008-10-10T12:24:57.321Z zone=MyImportantFence1 \
                   track=15 camera=1";
    check(line, "onvif_ej_linecrossed.json", crossed);
    check(line, "onvif_ej_linecrossed_malformed_spec_sample.txt", "invalid_json");
    let closed = "DoorClosed contact/hall 2024-04-08T21:21:36.794Z door=hall";
    check("zigbee2mqtt/hall", "zigbee2mqtt_contact.json", closed);
    // Its data is XML.
    check("ce", "cloudevents_example.json", "wrong_type");
}

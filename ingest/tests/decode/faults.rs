//! Mapping files with faults: every one told at once, with its place and what to change.

use event::Vocabulary;
use event::model::Model;

const FAULTY: &str = "\
fields: {dwell_s: flaot}
kinds: [AccessGranted]
mapings: []
mappings:
- name: doors
  topic: [site/+/doors]
  topics: [site/#/doors]
  zone: Europe/Olso
  events:
  - kind: AcessGranted
    ocurred: $.at
    device: $.a..b
    fields: {dor: $.door, score: {path: $.s, tabel: x}, credential: {path: $.c, table: nobody, column: x}}
- name: doors
  events: []
- {name: nothing}
- name: rows
  rows:
  - {table: seals}
";

const TOLD: &str = "\
1:19 `flaot` is none of string, int, float, bool, time (did you mean `float`?)
3:1 unknown key `mapings` (did you mean `mappings`?)
6:3 unknown key `topic` (did you mean `topics`?)
8:9 `Europe/Olso` is not a time zone (write an IANA name such as Europe/Oslo, or `site`)
7:12 `#` stands alone, as the last level
11:5 unknown key `ocurred` (did you mean `occurred`?)
10:11 no kind `AcessGranted` (did you mean `AccessGranted`?)
12:13 a key is missing between the dots
13:14 no field `dor` (did you mean `dir`?)
13:46 unknown key `tabel` (did you mean `table`?)
13:88 no table `nobody` (declare it in a file listed under `model:`)
14:9 a mapping named `doors` stands already
16:3 mapping `nothing` makes no `events` and changes no `rows`
19:13 no table `seals` (declare it in a file listed under `model:`)";

#[test]
fn all_faults_of_a_mapping_are_told_at_once() {
    let files = vec![("own.yaml".to_owned(), FAULTY.to_owned())];
    let mut vocabulary = Vocabulary::default();
    let mut faults = ingest::mapping::declare(&files, &mut vocabulary);
    let compiled = ingest::mapping::compile(&files, vocabulary.into(), Model::default().into());
    faults.extend(compiled.err().unwrap());
    let told: Vec<_> = faults
        .iter()
        .map(|f| {
            let help = f.suggestion.as_deref().map(|s| format!(" ({s})")).unwrap_or_default();
            format!("{}:{} {}{help}", f.place.line, f.place.column, f.message)
        })
        .collect();
    assert_eq!(told.join("\n"), TOLD);
}

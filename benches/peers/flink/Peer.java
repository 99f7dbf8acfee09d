// The ten rules on Flink CEP, as its experts would write them: patterns where order matters (R4-R7, R10), keyed process
// functions for counts, event time with watermarks, objects reused, one local JVM.
//
//   java --add-opens… -cp 'lib/*:.' Peer FILE PARALLELISM [--ids OUT]
//
// Events are decoded before the job starts; the figure is CPU time of the whole process while it runs.
//
//   -Dcheckpoints=DIR -Dcut=N -Dalerts=FILE [-Drestore=DIR/…/chk-N]
//
// keeps a checkpoint every ten seconds, adds each alert to a file as it is found, says when the source has come to event N, and
// goes on from a checkpoint.

import com.fasterxml.jackson.core.*;
import com.sun.management.OperatingSystemMXBean;
import java.io.*;
import java.lang.management.ManagementFactory;
import java.nio.file.*;
import java.time.Duration;
import java.util.*;
import java.util.concurrent.ConcurrentLinkedQueue;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.state.*;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.cep.CEP;
import org.apache.flink.cep.nfa.aftermatch.AfterMatchSkipStrategy;
import org.apache.flink.cep.functions.PatternProcessFunction;
import org.apache.flink.cep.pattern.Pattern;
import org.apache.flink.cep.pattern.conditions.SimpleCondition;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.streaming.api.datastream.*;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.streaming.api.functions.KeyedProcessFunction;
import org.apache.flink.streaming.api.functions.sink.legacy.SinkFunction;
import org.apache.flink.util.Collector;

public class Peer {
  public static class Reading {
    public long id, ts;
    public String what, site, zone, door, badge, dir, reason;
    public int heads;
    public Reading() {}
  }

  static Reading[] readings;
  static final ConcurrentLinkedQueue<String> FOUND = new ConcurrentLinkedQueue<>();

  static final long CUT = Long.getLong("cut", -1);
  static FileOutputStream alerts;
  static long started, startedCpu;

  public static class Note implements SinkFunction<String> {
    @Override public void invoke(String alert, Context context) throws IOException {
      if (alerts == null) FOUND.add(alert); else alerts.write((alert + "\n").getBytes());
    }
  }

  static long cpu() { return ((OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean()).getProcessCpuTime(); }

  static Reading next(long i) {
    if (i == CUT) {
      System.out.printf(Locale.ROOT, "{\"at\":%d,\"seconds\":%.3f,\"cpu_seconds\":%.3f}%n", i, (System.nanoTime() - started) / 1e9, (cpu() - startedCpu) / 1e9);
      System.out.flush();
    }
    return readings[(int) i];
  }

  /** What keeps checkpoints, and where to go on from. */
  static Configuration configuration() {
    Configuration configuration = new Configuration();
    String checkpoints = System.getProperty("checkpoints"), restore = System.getProperty("restore");
    if (checkpoints != null) {
      configuration.setString("execution.checkpointing.interval", "10 s");
      configuration.setString("execution.checkpointing.storage", "filesystem");
      configuration.setString("execution.checkpointing.dir", Path.of(checkpoints).toUri().toString());
      configuration.setString("execution.checkpointing.externalized-checkpoint-retention", "RETAIN_ON_CANCELLATION");
    }
    if (restore != null) configuration.setString("execution.state-recovery.path", Path.of(restore).toUri().toString());
    return configuration;
  }

  static boolean is(Reading r, String... kinds) {
    for (String kind : kinds) if (r.what.equals(kind)) return true;
    return false;
  }

  static SimpleCondition<Reading> of(String kind) { return SimpleCondition.of(r -> r.what.equals(kind)); }
  static SimpleCondition<Reading> in() { return SimpleCondition.of(r -> r.what.equals("granted") && r.dir.equals("in")); }

  /** What a pattern's events are called in its alert. */
  static DataStream<String> pairs(String rule, KeyedStream<Reading, String> keyed, Pattern<Reading, ?> pattern, boolean both) {
    return CEP.pattern(keyed, pattern).process(new PatternProcessFunction<Reading, String>() {
      @Override public void processMatch(Map<String, List<Reading>> match, Context context, Collector<String> out) {
        long a = match.get("a").get(0).id;
        out.collect(both ? rule + " " + a + " " + match.get("b").get(0).id : rule + " " + a);
      }
    });
  }

  public static class Windows extends KeyedProcessFunction<String, Reading, String> {
    transient ListState<Long> two;
    transient MapState<Long, String> three;
    @Override public void open(OpenContext context) {
      two = getRuntimeContext().getListState(new ListStateDescriptor<>("two", Types.LONG));
      three = getRuntimeContext().getMapState(new MapStateDescriptor<>("three", Types.LONG, Types.STRING));
    }
    @Override public void processElement(Reading r, Context context, Collector<String> out) throws Exception {
      List<Long> kept = new ArrayList<>();
      for (long at : two.get()) if (r.ts - at <= 59_999) kept.add(at);
      kept.add(r.ts);
      two.update(kept);
      if (kept.size() >= 5) out.collect("R2 " + r.id);
      three.put(r.ts, r.badge);
      Set<String> badges = new HashSet<>();
      for (Iterator<Map.Entry<Long, String>> i = three.iterator(); i.hasNext(); ) {
        Map.Entry<Long, String> one = i.next();
        if (r.ts - one.getKey() > 119_999) i.remove(); else badges.add(one.getValue());
      }
      if (badges.size() >= 4) out.collect("R3 " + r.id);
    }
  }

  public static class Zones extends KeyedProcessFunction<String, Reading, String> {
    transient ListState<Long> ins;
    transient ValueState<Integer> inside;
    @Override public void open(OpenContext context) {
      ins = getRuntimeContext().getListState(new ListStateDescriptor<>("ins", Types.LONG));
      inside = getRuntimeContext().getState(new ValueStateDescriptor<>("inside", Types.INT));
    }
    @Override public void processElement(Reading r, Context context, Collector<String> out) throws Exception {
      if (r.what.equals("granted")) {
        boolean enters = r.dir.equals("in");
        int now = (inside.value() == null ? 0 : inside.value()) + (enters ? 1 : -1);
        inside.update(now);
        if (enters) {
          ins.add(r.ts);
          if (now == 31) out.collect("R9 " + r.id);
        }
        return;
      }
      List<Long> kept = new ArrayList<>();
      for (long at : ins.get()) if (r.ts - at <= 59_999) kept.add(at);
      ins.update(kept);
      if (r.heads > 1 + kept.size()) out.collect("R8 " + r.id);
    }
  }

  public static void main(String[] args) throws Exception {
    List<String> lines = Files.readAllLines(Path.of(args[0]));
    int parallelism = Integer.parseInt(args[1]);
    JsonFactory factory = new JsonFactory();
    readings = new Reading[lines.size()];
    for (int i = 0; i < readings.length; i++) readings[i] = parse(factory, lines.get(i));

    int last = Integer.getInteger("rounds", 1);
    for (int round = 1; round <= last; round++) judge(args, parallelism, round == last);
  }

  /** One job over all events; the last of several tells what it found: those before it warm the virtual machine up. */
  static void judge(String[] args, int parallelism, boolean last) throws Exception {
    FOUND.clear();
    StreamExecutionEnvironment env = StreamExecutionEnvironment.createLocalEnvironment(parallelism, configuration());
    env.getConfig().enableObjectReuse();
    env.getConfig().setAutoWatermarkInterval(200);
    DataStream<Reading> all = env.fromSequence(0, readings.length - 1).setParallelism(1)
        .map(Peer::next).returns(Reading.class).setParallelism(1)
        .assignTimestampsAndWatermarks(WatermarkStrategy.<Reading>forBoundedOutOfOrderness(Duration.ofMillis(Integer.getInteger("disorder", 0))).withTimestampAssigner((r, t) -> r.ts))
        .setParallelism(1);
    AfterMatchSkipStrategy each = AfterMatchSkipStrategy.noSkip();
    KeyedStream<Reading, String> denied = all.filter(r -> is(r, "denied")).keyBy(r -> r.door);
    KeyedStream<Reading, String> badges = all.filter(r -> is(r, "granted")).keyBy(r -> r.badge);
    DataStream<String> found = all.filter(r -> is(r, "denied") && r.reason.equals("revoked")).map(r -> "R1 " + r.id).returns(Types.STRING)
        .union(
            denied.process(new Windows()),
            pairs("R4", all.filter(r -> is(r, "denied", "forced")).keyBy(r -> r.door),
                Pattern.<Reading>begin("a", each).where(of("denied")).followedBy("b").where(of("forced")).within(Duration.ofMillis(29_999)), true),
            pairs("R5", all.filter(r -> is(r, "open", "close")).keyBy(r -> r.door),
                Pattern.<Reading>begin("a", each).where(of("open")).notFollowedBy("b").where(of("close")).within(Duration.ofMillis(19_999)), false),
            pairs("R6", all.filter(r -> is(r, "denied", "granted", "open")).keyBy(r -> r.door),
                Pattern.<Reading>begin("a", each).where(of("denied")).notFollowedBy("no").where(of("granted")).followedBy("b").where(of("open")).within(Duration.ofMillis(29_999)), true),
            pairs("R7", badges, Pattern.<Reading>begin("a", each).where(in()).next("b").where(in()), true),
            pairs("R10", badges, Pattern.<Reading>begin("a", each).where(of("granted")).next("b").where(new org.apache.flink.cep.pattern.conditions.IterativeCondition<Reading>() {
              @Override public boolean filter(Reading b, Context<Reading> context) throws Exception {
                return !context.getEventsForPattern("a").iterator().next().site.equals(b.site);
              }
            }).within(Duration.ofMillis(299_999)), true),
            all.filter(r -> is(r, "granted", "headcount")).keyBy(r -> r.zone).process(new Zones()));
    found.addSink(new Note());

    if (System.getProperty("alerts") != null) alerts = new FileOutputStream(System.getProperty("alerts"), true);
    started = System.nanoTime();
    startedCpu = cpu();
    env.execute();
    double spent = (cpu() - startedCpu) / (double) readings.length;
    int[] count = new int[11];
    for (String alert : FOUND) count[Integer.parseInt(alert.substring(1, alert.indexOf(' ')))]++;
    int at = Arrays.asList(args).indexOf("--ids");
    if (last && at >= 0) Files.write(Path.of(args[at + 1]), FOUND);
    StringBuilder told = new StringBuilder();
    for (int r = 1; r <= 10; r++) told.append(r == 1 ? "" : ",").append(count[r]);
    System.out.printf(Locale.ROOT, "{\"engine\":\"flink\",\"lane\":\"A\",\"parallelism\":%d,\"events\":%d,\"ns_per_event\":%.0f,\"counts\":[%s]}%n",
        parallelism, readings.length, spent, told);
  }

  static Reading parse(JsonFactory factory, String line) throws IOException {
    Reading r = new Reading();
    String src = null, type = null, result = null;
    try (JsonParser parser = factory.createParser(line)) {
      parser.nextToken();
      String name;
      while ((name = parser.nextFieldName()) != null) {
        switch (name) {
          case "id": r.id = parser.nextLongValue(0); break;
          case "ts": r.ts = parser.nextLongValue(0); break;
          case "heads": r.heads = parser.nextIntValue(0); break;
          case "src": src = parser.nextTextValue(); break;
          case "type": type = parser.nextTextValue(); break;
          case "result": result = parser.nextTextValue(); break;
          case "site": r.site = parser.nextTextValue(); break;
          case "zone": r.zone = parser.nextTextValue(); break;
          case "door": r.door = parser.nextTextValue(); break;
          case "badge": r.badge = parser.nextTextValue(); break;
          case "dir": r.dir = parser.nextTextValue(); break;
          case "reason": r.reason = parser.nextTextValue(); break;
          default: parser.nextToken(); break;
        }
      }
    }
    r.what = (src.equals("badge") ? result : type).intern();
    return r;
  }
}

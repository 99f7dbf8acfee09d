// The ten rules on Esper, as its experts would write them: one type for each kind of event, keyed contexts instead of
// filters in patterns, tables for counts that others read, external time.
//
//   java -cp 'lib/*:.' Peer FILE [--json] [--interned] [--ids OUT] [--rounds N] [--threads N]
//
// Without --json events are decoded before the clock starts (lane A); with it each line is parsed on the way (lane B). With
// --interned equal texts are one object, so that keys compare by identity. External time goes with the greatest seen.
//
// With several threads each has two runtimes: one for the rules of its sites, one for the rules over all sites, R7 and R10, and
// its badges. All of them go through each block in order, and share the parsing of it.

import com.espertech.esper.common.client.EPCompiled;
import com.espertech.esper.common.client.EventBean;
import com.espertech.esper.common.client.configuration.Configuration;
import com.espertech.esper.compiler.client.CompilerArguments;
import com.espertech.esper.compiler.client.EPCompilerProvider;
import com.espertech.esper.runtime.client.*;
import com.fasterxml.jackson.core.*;
import java.io.*;
import java.lang.management.ManagementFactory;
import java.lang.management.ThreadMXBean;
import java.nio.file.*;
import java.util.*;
import java.util.concurrent.*;

public class Peer {
  public static class Base {
    public long id, ts;
    public String site, zone, door, badge, dir, reason;
    public int heads;
    public long getId() { return id; }
    public long getTs() { return ts; }
    public String getSite() { return site; }
    public String getZone() { return zone; }
    public String getDoor() { return door; }
    public String getBadge() { return badge; }
    public String getDir() { return dir; }
    public String getReason() { return reason; }
    public int getHeads() { return heads; }
  }
  public static class Denied extends Base {}
  public static class Granted extends Base {}
  public static class Opened extends Base {}
  public static class Forced extends Base {}
  public static class Closed extends Base {}
  public static class Counted extends Base {}
  public static class Other extends Base {}

  /** Rules of a site. */
  static final String SITE = String.join("\n",
    "create context ByDoor partition by door from Denied, door from Granted, door from Opened, door from Forced, door from Closed;",
    "@name('R1') select id from Denied(reason = 'revoked');",
    "@name('R2') select id from Denied#time(59999 milliseconds) group by door having count(*) >= 5;",
    "@name('R3') select id from Denied#time(119999 milliseconds) group by door having count(distinct badge) >= 4;",
    "@name('R4') context ByDoor select a.id as a, b.id as id from pattern [every a=Denied -> (b=Forced where timer:within(29999 milliseconds))];",
    "@name('R5') context ByDoor select a.id as id from pattern [every a=Opened -> (timer:interval(19999 milliseconds) and not Closed)];",
    "@name('R6') context ByDoor select a.id as a, b.id as id from pattern [every a=Denied -> ((b=Opened and not Granted) where timer:within(29999 milliseconds))];",
    "create table Ins(zone string primary key, n count(*));",
    "into table Ins select count(*) as n from Granted(dir = 'in')#time(59999 milliseconds) group by zone;",
    "@name('R8') select id from Counted where heads > 1 + coalesce(Ins[zone].n, 0);",
    "@name('R9') select id from Granted group by zone having sum(case when dir = 'in' then 1 else -1 end) = 31 and dir = 'in';");

  /** Rules over all sites. */
  static final String ALL = String.join("\n",
    "@name('R7') select prev(1, id) as a, id from Granted#groupwin(badge)#length(2) where dir = 'in' and prev(1, dir) = 'in';",
    "@name('R10') select prev(1, id) as a, id from Granted#groupwin(badge)#length(2) where prev(1, site) != site and ts - prev(1, ts) < 299999;");

  /** Texts that are kept once, where that is asked for. */
  static Map<String, String> texts;

  static final ThreadMXBean THREADS = ManagementFactory.getThreadMXBean();

  public static void main(String[] args) throws Exception {
    boolean json = Arrays.asList(args).contains("--json");
    if (Arrays.asList(args).contains("--interned")) texts = new ConcurrentHashMap<>();
    String out = value(args, "--ids", null);
    int rounds = Integer.parseInt(value(args, "--rounds", "1"));
    byte[] bytes = Files.readAllBytes(Path.of(args[0]));
    List<int[]> lines = new ArrayList<>();
    for (int from = 0, at = 0; at < bytes.length; at++) {
      if (bytes[at] == '\n') { lines.add(new int[] {from, at - from}); from = at + 1; }
    }
    JsonFactory factory = new JsonFactory();
    Base[] decoded = null;
    if (!json) {
      decoded = new Base[lines.size()];
      for (int i = 0; i < decoded.length; i++) decoded[i] = parse(factory, bytes, lines.get(i));
    }
    int threads = Integer.parseInt(value(args, "--threads", "1"));
    for (int round = 1; round <= rounds; round++) {
      String told = round == rounds ? out : null;
      if (threads == 1) alone(round, json, told, bytes, lines, factory, decoded);
      else together(round, threads, json, told, bytes, lines, factory, decoded);
    }
  }

  static final long BEGIN = 1_700_000_000_000L;

  /** One runtime with some of the rules. */
  static class Engine {
    final EPRuntime runtime;
    final EPEventService events;
    final long[] count = new long[11];
    long latest = 0;

    Engine(String name, String epl, PrintWriter ids) throws Exception {
      Configuration configuration = new Configuration();
      for (Class<?> type : List.of(Denied.class, Granted.class, Opened.class, Forced.class, Closed.class, Counted.class, Other.class)) {
        configuration.getCommon().addEventType(type.getSimpleName(), type);
      }
      configuration.getRuntime().getThreading().setInternalTimerEnabled(false);
      configuration.getRuntime().getThreading().setListenerDispatchPreserveOrder(false);
      configuration.getRuntime().getThreading().setInsertIntoDispatchPreserveOrder(false);
      runtime = EPRuntimeProvider.getRuntime(name, configuration);
      EPCompiled compiled = EPCompilerProvider.getCompiler().compile(epl, new CompilerArguments(configuration));
      events = runtime.getEventService();
      events.advanceTime(BEGIN - 1);
      EPDeployment deployment = runtime.getDeploymentService().deploy(compiled);
      for (EPStatement statement : deployment.getStatements()) {
        String rule = statement.getName();
        if (!rule.startsWith("R")) continue;
        int number = Integer.parseInt(rule.substring(1));
        boolean pair = number == 4 || number == 6 || number == 7 || number == 10;
        statement.addListener((found, gone, s, r) -> {
          if (found == null) return;
          for (EventBean one : found) {
            count[number]++;
            if (ids != null) ids.println(pair ? rule + " " + one.get("a") + " " + one.get("id") : rule + " " + one.get("id"));
          }
        });
      }
    }

    void take(Base event) {
      pass(event);
      events.sendEventBean(event, event.getClass().getSimpleName());
    }

    /** Time goes on with an event that is another's. */
    void pass(Base event) {
      latest = Math.max(latest, event.ts);
      events.advanceTime(latest);
    }

    void finish(int n) {
      events.advanceTime(BEGIN + 2L * n + 3_600_000L);
      runtime.destroy();
    }
  }

  static PrintWriter writer(String out) throws IOException {
    return out == null ? null : new PrintWriter(new BufferedWriter(new FileWriter(out)));
  }

  static void alone(int round, boolean json, String out, byte[] bytes, List<int[]> lines, JsonFactory factory, Base[] decoded) throws Exception {
    PrintWriter ids = writer(out);
    Engine engine = new Engine("round" + round, SITE + "\n" + ALL, ids);
    int n = lines.size(), chunk = Math.max(n / 10, 1);
    long wall = System.nanoTime(), begun = THREADS.getCurrentThreadCpuTime(), mark = begun;
    double best = Double.MAX_VALUE;
    for (int i = 0; i < n; i++) {
      engine.take(json ? parse(factory, bytes, lines.get(i)) : decoded[i]);
      if ((i + 1) % chunk == 0) {
        long now = THREADS.getCurrentThreadCpuTime();
        best = Math.min(best, (now - mark) / (double) chunk);
        mark = now;
      }
    }
    double all = (THREADS.getCurrentThreadCpuTime() - begun) / (double) n, clock = (System.nanoTime() - wall) / (double) n;
    engine.finish(n);
    if (ids != null) ids.close();
    tell(json, round, n, all, best, clock, engine.count);
  }

  /** Events of one round of the threads. */
  static final int BLOCK = 20_000;

  static void together(int round, int threads, boolean json, String out, byte[] bytes, List<int[]> lines, JsonFactory factory, Base[] decoded) throws Exception {
    PrintWriter ids = writer(out);
    int n = lines.size();
    Base[] events = json ? new Base[n] : decoded;
    long[] spent = new long[threads], count = new long[11];
    CyclicBarrier barrier = new CyclicBarrier(threads);
    Thread[] all = new Thread[threads];
    Engine[] engines = new Engine[2 * threads];
    for (int t = 0; t < threads; t++) {
      engines[2 * t] = new Engine("sites" + round + "-" + t, SITE, ids);
      engines[2 * t + 1] = new Engine("badges" + round + "-" + t, ALL, ids);
    }
    long wall = System.nanoTime();
    for (int number = 0; number < threads; number++) {
      int t = number;
      all[t] = new Thread(() -> {
        try {
          Engine sites = engines[2 * t], badges = engines[2 * t + 1];
          for (int from = 0; from < n; from += BLOCK) {
            int to = Math.min(from + BLOCK, n);
            for (int i = from + t; json && i < to; i += threads) events[i] = parse(factory, bytes, lines.get(i));
            barrier.await();
            for (int i = from; i < to; i++) {
              Base event = events[i];
              if (Math.floorMod(event.site.hashCode(), threads) == t) sites.take(event);
              if (event instanceof Granted && Math.floorMod(event.badge.hashCode(), threads) == t) badges.take(event);
            }
            // Time has come this far for those of its sites that were silent.
            sites.pass(events[to - 1]);
            barrier.await();
            for (int i = from; json && t == 0 && i < to; i++) events[i] = null;
          }
          spent[t] = THREADS.getCurrentThreadCpuTime();
        } catch (Exception e) {
          throw new IllegalStateException(e);
        }
      });
      all[t].start();
    }
    for (Thread thread : all) thread.join();
    double clock = (System.nanoTime() - wall) / (double) n;
    for (Engine engine : engines) {
      engine.finish(n);
      for (int r = 1; r <= 10; r++) count[r] += engine.count[r];
    }
    if (ids != null) ids.close();
    double cpu = Arrays.stream(spent).sum() / (double) n;
    tell(json, round, n, cpu, cpu, clock, count);
  }

  static void tell(boolean json, int round, int n, double all, double best, double clock, long[] count) {
    StringBuilder told = new StringBuilder();
    for (int r = 1; r <= 10; r++) told.append(r == 1 ? "" : ",").append(count[r]);
    System.out.printf(Locale.ROOT, "{\"engine\":\"esper\",\"lane\":\"%s\",\"round\":%d,\"events\":%d,\"ns_per_event\":%.0f,\"ns_per_event_best_chunk\":%.0f,\"wall_ns_per_event\":%.0f,\"counts\":[%s]}%n",
        json ? "B" : "A", round, n, all, best, clock, told);
  }

  static String value(String[] args, String name, String otherwise) {
    int at = Arrays.asList(args).indexOf(name);
    return at < 0 ? otherwise : args[at + 1];
  }

  static String one(String text) {
    return texts == null || text == null ? text : texts.computeIfAbsent(text, t -> t);
  }

  /** One line. */
  static Base parse(JsonFactory factory, byte[] bytes, int[] line) throws IOException {
    long id = 0, ts = 0;
    int heads = 0;
    String src = null, type = null, result = null, site = null, zone = null, door = null, badge = null, dir = null, reason = null;
    try (JsonParser parser = factory.createParser(bytes, line[0], line[1])) {
      parser.nextToken();
      String name;
      while ((name = parser.nextFieldName()) != null) {
        switch (name) {
          case "id": id = parser.nextLongValue(0); break;
          case "ts": ts = parser.nextLongValue(0); break;
          case "heads": heads = parser.nextIntValue(0); break;
          case "src": src = parser.nextTextValue(); break;
          case "type": type = parser.nextTextValue(); break;
          case "result": result = parser.nextTextValue(); break;
          case "site": site = one(parser.nextTextValue()); break;
          case "zone": zone = one(parser.nextTextValue()); break;
          case "door": door = one(parser.nextTextValue()); break;
          case "badge": badge = one(parser.nextTextValue()); break;
          case "dir": dir = one(parser.nextTextValue()); break;
          case "reason": reason = one(parser.nextTextValue()); break;
          default: parser.nextToken(); break;
        }
      }
    }
    Base event;
    switch (src) {
      case "badge": event = result.equals("denied") ? new Denied() : new Granted(); break;
      case "gate": event = type.equals("open") ? new Opened() : type.equals("forced") ? new Forced() : new Closed(); break;
      case "cctv": event = new Counted(); break;
      default: event = new Other();
    }
    event.id = id; event.ts = ts; event.heads = heads;
    event.site = site; event.zone = zone; event.door = door; event.badge = badge; event.dir = dir; event.reason = reason;
    return event;
  }
}

import { cp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { beforeEach, describe, expect, it } from 'vitest';

import { toUtf8 } from '../../attestation/core/bytes.ts';
import { auditReleaseLog } from '../../src/audit/audit-log.ts';
import type { MonitorAlarm } from '../../src/audit/monitor-alarms.ts';
import { Monitor, type MonitorSettings } from '../../src/audit/monitor.ts';
import { encodeEntry, type LogEntry } from '../../src/governance/entries.ts';
import type { LogSource } from '../../src/log/reader.ts';
import { folderSource } from '../../src/log/sources.ts';
import {
  digestOf,
  exampleGrant,
  examplePredicates,
  readyLog,
  signers,
  type ExampleLog,
} from '../support/governance.ts';
import { refusalCodeAsync } from '../support/refusal-code.ts';
import { ServedLog } from '../support/served-log.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

const manifest = digestOf('manifest');

let ready: ExampleLog;
let folder: string;
let now: number;

beforeEach(async () => {
  ready = await readyLog();
  folder = join(await temporaryFolder(), 'monitor');
  now = ready.state.at + 60;
});

/** One grant a second. */
function grant(count: number): void {
  for (let i = 0; i < count; i += 1) {
    ready.at += 1;
    ready.append(exampleGrant(ready.state, ready.at));
  }
  now = ready.state.at + 60;
}

const served = (entries: readonly (LogEntry | Uint8Array)[] = ready.entries): ServedLog =>
  new ServedLog(ready.state.origin, entries);

function open(log: ServedLog, changes: Partial<MonitorSettings> = {}): Promise<Monitor> {
  const watched = { models: [], labs: [] };
  return Monitor.open(folder, log.trust, {
    watched,
    witnesses: 'not-required',
    maxAgeSeconds: 7200,
    ...changes,
  });
}

async function look(monitor: Monitor, source: LogSource): Promise<readonly MonitorAlarm[]> {
  const alarms: MonitorAlarm[] = [];
  await monitor.look(source, now, (alarm) => void alarms.push(alarm));
  return alarms;
}

const kinds = (alarms: readonly MonitorAlarm[]): readonly string[] => alarms.map(({ alarm }) => alarm);

/** A monitor that has seen the log, in the folder. */
async function settled(log: ServedLog): Promise<Monitor> {
  const monitor = await open(log);
  await look(monitor, log.source());
  return monitor;
}

describe('a monitor', () => {
  it('AU-41, AU-42: begins with the first entry and says every change of the rules', async () => {
    grant(1);
    const alarms = await look(await open(served()), served().source());
    expect(alarms.map(({ alarm, text }) => `${alarm}: ${text}`)).toEqual([
      'rules-changed: lab lab-one accredited',
      `rules-changed: model ${manifest.slice(0, 16)} registered`,
      'rules-changed: release policy epoch 1 in force',
      'rules-changed: tern 1.0 is in phase research',
      'server-changed: a server of build test, which this log had not heard before',
    ]);
    expect(alarms.every(({ index = 0, at = 0 }) => index > 0 && at > 0)).toBe(true);
  });

  it('AU-41: fetches afterwards only what is new, also when it was started anew', async () => {
    grant(400);
    const log = served();
    await settled(log);
    log.asked.length = 0;
    expect(await look(await open(log), log.source())).toEqual([]);
    expect(log.asked).toEqual(['checkpoint']);
    grant(200);
    const longer = served();
    const monitor = await open(longer);
    expect(await look(monitor, longer.source())).toEqual([]);
    expect(longer.asked).toEqual([
      'checkpoint',
      'tile/entries/001',
      `tile/entries/002.p/${longer.entries.length - 512}`,
    ]);
    expect(monitor.checkpoint?.size).toBe(BigInt(longer.entries.length));
  });

  it('AU-42: says who was granted what is watched', async () => {
    const log = await settled(served()).then(() => served());
    grant(1);
    for (const watched of [
      { models: [manifest], labs: [] },
      { models: [], labs: ['lab-one'] },
    ]) {
      const monitor = await open(log, { watched });
      const alarms = await look(monitor, served().source());
      expect(kinds(alarms)).toEqual(['server-changed', 'watched-release']);
      expect(alarms[1]?.text).toBe('lab-one was granted the key of tern 1.0 for red-teaming');
      await rm(folder, { recursive: true });
      await settled(log);
    }
    const other = await open(log, { watched: { models: [digestOf('other')], labs: ['lab-two'] } });
    expect(kinds(await look(other, served().source()))).toEqual(['server-changed']);
  });

  it('AU-42: a hold and its end are said', async () => {
    const monitor = await settled(served());
    ready.at += 1;
    await ready.say('hold/v1', examplePredicates.hold, [signers.dora]);
    const alarms = await look(monitor, served().source());
    expect(kinds(alarms)).toEqual(['rules-changed']);
    expect(alarms[0]?.text).toMatch(/^tern 1\.0 held as /);
  });

  it('AU-42: an entry that is none, or against the rules, is said and hides nothing', async () => {
    const monitor = await settled(served());
    const illegal = { ...exampleGrant(ready.state, ready.at), lab: 'lab-two' };
    const entries = [
      ...ready.entries,
      toUtf8('{"type":"smuggled","version":1}'),
      illegal,
      toUtf8('no entry'),
    ];
    const good = exampleGrant(ready.state, ready.at);
    const alarms = await look(monitor, served([...entries, good]).source());
    expect(kinds(alarms)).toEqual(['entry-refused', 'entry-refused', 'entry-refused', 'server-changed']);
    expect(alarms.map(({ code }) => code)).toEqual([
      'shape-mismatch',
      'governance-decision-illegal',
      'json-malformed',
      undefined,
    ]);
  });

  it('AU-42: a log without entries is not well', async () => {
    expect(kinds(await look(await open(served([])), served([]).source()))).toEqual(['empty']);
    const monitor = await settled(served());
    expect(kinds(await look(monitor, served([]).source()))).toEqual(['empty', 'rollback']);
  });

  it('AU-42: another root for a size that was seen is a split view; both notes are kept, and it stays said', async () => {
    grant(3);
    const log = served();
    const monitor = await settled(log);
    const size = log.entries.length;
    const fork = served(
      ready.entries.with(size - 1, { ...exampleGrant(ready.state, ready.at), purpose: 'other' }),
    );
    for (const again of [monitor, await open(log)]) {
      const [alarm] = await look(again, fork.source());
      expect(alarm?.alarm).toBe('split-view');
      const notes = await Promise.all(
        (alarm?.evidence ?? []).map((path) => readFile(join(folder, path), 'utf8')),
      );
      expect(notes).toEqual([await log.note(), await fork.note()]);
    }
    expect(await readdir(join(folder, 'evidence'))).toHaveLength(2);
    expect(await look(await open(log), log.source())).toEqual([]);
  });

  it.each([1, 300])(
    'AU-41: a longer log that does not extend what was seen %d entries ago is a split view',
    async (more) => {
      grant(300);
      const log = served();
      const monitor = await settled(log);
      grant(more);
      for (const changed of [20, 290]) {
        const fork = served(
          ready.entries.with(changed, { ...exampleGrant(ready.state, ready.at), purpose: 'other' }),
        );
        expect(kinds(await look(monitor, fork.source()))).toEqual(['split-view']);
        expect(monitor.checkpoint?.size).toBe(BigInt(log.entries.length));
      }
      expect(await look(monitor, served().source())).toEqual([]);
    },
  );

  it('AU-42: fewer entries than were seen are a rollback', async () => {
    grant(5);
    const log = served();
    const monitor = await settled(log);
    const [alarm] = await look(monitor, log.source(log.entries.length - 1));
    expect(alarm).toMatchObject({ alarm: 'rollback', evidence: [expect.any(String), expect.any(String)] });
    expect(monitor.checkpoint?.size).toBe(BigInt(log.entries.length));
  });

  it('AU-41: entries that are not those of the checkpoint are refused, and what they say is not said', async () => {
    const monitor = await settled(served());
    grant(2);
    const log = served();
    const lying: LogSource = async (path) => {
      if (path === 'checkpoint') return toUtf8(await log.note());
      const hold = ready.entries.with(-1, { ...exampleGrant(ready.state, ready.at), serverBuild: 'evil' });
      return await served(hold).source()(path);
    };
    expect(kinds(await look(monitor, lying))).toEqual(['entries-refused']);
    expect(kinds(await look(monitor, log.source()))).toEqual(['server-changed']);
  });

  it('AU-41: entries that were seen before and are others now are refused, though what is new is right', async () => {
    const monitor = await settled(served());
    grant(2);
    const log = served();
    const lying: LogSource = async (path) => {
      const other = ready.entries.with(3, { ...exampleGrant(ready.state, ready.at), serverBuild: 'evil' });
      return await (path === 'checkpoint' ? log : served(other)).source()(path);
    };
    expect(kinds(await look(monitor, lying))).toEqual(['entries-refused']);
    expect(kinds(await look(await open(log), log.source()))).toEqual(['server-changed']);
  });

  it('AU-42: a checkpoint of somebody else is refused, and one that is not there is not to be had', async () => {
    const monitor = await settled(served());
    const stranger = new ServedLog('stranger.example/evaluation', ready.entries);
    expect(kinds(await look(monitor, stranger.source()))).toEqual(['checkpoint-refused']);
    expect(kinds(await look(monitor, () => Promise.resolve(undefined)))).toEqual(['unreachable']);
    grant(1);
    const log = served();
    const partial: LogSource = async (path) => (path === 'checkpoint' ? await log.source()(path) : undefined);
    expect(kinds(await look(monitor, partial))).toEqual(['unreachable']);
  });

  it('AU-42: a log that stands still is frozen, and one ahead of the clock is not to be trusted', async () => {
    const log = served();
    const monitor = await settled(log);
    now = ready.state.at + 7200;
    expect(await look(monitor, log.source())).toEqual([]);
    now += 1;
    expect(kinds(await look(monitor, log.source()))).toEqual(['frozen']);
    now = ready.state.at - 301;
    expect(kinds(await look(monitor, log.source()))).toEqual(['clock']);
  });
});

describe('what a monitor keeps', () => {
  it('AU-40: is moved only after the alarms were said: a crash on the way says them again', async () => {
    const monitor = await settled(served());
    grant(300);
    const log = served();
    const crash = (): never => {
      throw new Error('killed');
    };
    for (const again of [monitor, monitor, await open(log)]) {
      await expect(again.look(log.source(), now, crash)).rejects.toThrow('killed');
    }
    expect(kinds(await look(await open(log), log.source()))).toEqual(['server-changed']);
    expect(await look(await open(log), log.source())).toEqual([]);
  });

  it('AU-40: is a copy of the log that verifies like any other, without what has become old', async () => {
    const log = served();
    const monitor = await settled(log);
    grant(300);
    await look(monitor, served().source());
    const { checkpoint } = await auditReleaseLog(folderSource(folder), log.trust, undefined);
    expect(checkpoint.size).toBe(BigInt(ready.entries.length));
    const kept = (await readdir(join(folder, 'tile'), { recursive: true })).filter(
      (name) => !name.endsWith('entries'),
    );
    expect(kept.toSorted()).toEqual([
      'entries/000',
      'entries/001.p',
      `entries/001.p/${ready.entries.length - 256}`,
    ]);
  });

  it('AU-40: and was changed, or is of another log, is refused', async () => {
    const log = served();
    await settled(log);
    const path = join(folder, 'tile', 'entries', `000.p`, String(log.entries.length));
    const bytes = new Uint8Array(await readFile(path));
    await writeFile(path, bytes.with(100, (bytes[100] ?? 0) ^ 1));
    expect(await refusalCodeAsync(() => open(log))).toBe('monitor-copy-damaged');
    await writeFile(path, bytes);
    const other = new ServedLog('other.example/evaluation', ready.entries);
    expect(await refusalCodeAsync(() => open(other))).toBe('monitor-copy-damaged');
    expect((await open(log)).checkpoint?.size).toBe(BigInt(log.entries.length));
  });

  it('AU-40: a look that failed half-way leaves nothing that is believed', async () => {
    const log = served();
    await settled(log);
    await cp(folder, `${folder}-before`, { recursive: true });
    grant(300);
    const longer = served();
    const failing: LogSource = async (path) => {
      if (path.startsWith('tile/entries/001')) return undefined;
      return await longer.source()(path);
    };
    expect(kinds(await look(await open(log), failing))).toEqual(['unreachable']);
    expect((await open(log)).checkpoint?.note).toBe(await log.note());
    expect(kinds(await look(await open(log), longer.source()))).toEqual(['server-changed']);
  });
});

describe('the rules as an auditor applies them', () => {
  it('AU-3: a log begins with the genesis entry of the origin that is pinned', async () => {
    const audit = async (log: ServedLog): Promise<readonly (string | number)[]> => {
      const alarms: (string | number)[] = [];
      await auditReleaseLog(log.source(), log.trust, undefined, {
        alarm: ({ index, refusal }) => void alarms.push(index, refusal.code),
      });
      return alarms;
    };
    expect(await audit(served())).toEqual([]);
    const [genesis] = ready.entries;
    const late = served([encodeEntry(exampleGrant(ready.state, ready.at)), genesis!]);
    expect(await audit(late)).toEqual([0, 'governance-genesis', 1, 'governance-genesis']);
    const elsewhere = new ServedLog('elsewhere.example/evaluation', [genesis!]);
    expect(await audit(elsewhere)).toEqual([0, 'governance-genesis']);
  });
});

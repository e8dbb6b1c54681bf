import { request } from 'node:https';

import { afterEach, describe, expect, it, vi } from 'vitest';

import { encodeCanonicalJson } from '../../attestation/core/canonical-json.ts';
import { enrol, requestRelease } from '../../src/agent/key-release.ts';
import {
  decodeEntry,
  encodeEntry,
  type HeartbeatEntry,
  type LogEntry,
} from '../../src/governance/entries.ts';
import { leafHash } from '../../src/log/merkle.ts';
import { GovernanceLog } from '../../src/server/governance-log.ts';
import { Heartbeat } from '../../src/server/heartbeat.ts';
import { RequestCounts } from '../../src/server/request-counts.ts';
import { readyLog } from '../support/governance.ts';
import { manifestDigest, SUBJECT, TestServer } from '../support/release-server.ts';
import { refusalCodeAsync } from '../support/refusal-code.ts';

const INTERVAL = 3600;

/** A log in memory, and runs of servers on it. */
class Runs {
  readonly entries: LogEntry[];
  readonly clock = {
    seconds: 0,
    posixSeconds: () => this.clock.seconds,
    monotonicMilliseconds: () => this.clock.seconds * 1000,
  };

  private constructor(entries: readonly LogEntry[], at: number) {
    this.entries = [...entries];
    this.clock.seconds = at;
  }

  static async create(): Promise<Runs> {
    const { entries, state } = await readyLog();
    return new Runs(entries, state.at);
  }

  async start(): Promise<{
    readonly heartbeat: Heartbeat;
    readonly counts: RequestCounts;
    readonly governance: GovernanceLog;
  }> {
    const append = (entry: Uint8Array) => {
      const index = BigInt(this.entries.length);
      this.entries.push(decodeEntry(entry));
      return Promise.resolve({ index, leafHash: leafHash(entry), proof: '' });
    };
    const governance = await GovernanceLog.open({ append }, this.stored(), this.clock);
    const counts = new RequestCounts();
    const options = { governance, counts, clock: this.clock, serverBuild: 'test', intervalSeconds: INTERVAL };
    return { heartbeat: new Heartbeat(options), counts, governance };
  }

  get last(): LogEntry | undefined {
    return this.entries.at(-1);
  }

  private async *stored(): AsyncGenerator<Uint8Array> {
    for (const entry of [...this.entries]) yield await Promise.resolve(encodeEntry(entry));
  }
}

describe('heartbeats of a server', () => {
  it('RP-36: one an interval, each after the one before', async () => {
    const runs = await Runs.create();
    const { heartbeat, counts } = await runs.start();
    const startedAt = runs.clock.seconds;
    expect(await heartbeat.beat(null)).toBe(false);
    runs.clock.seconds += INTERVAL - 1;
    expect(await heartbeat.beat(null)).toBe(false);
    runs.clock.seconds += 1;
    for (const code of ['route-unknown', 'json-malformed', 'route-unknown']) counts.refuse(code);
    counts.handOut('challenges');
    expect(await heartbeat.beat({ size: 3, at: 7 })).toBe(true);
    expect(runs.last).toMatchObject({
      previous: null,
      startedAt,
      countedFrom: startedAt,
      handedOut: { challenges: 1, enrolments: 0 },
      refusals: [
        { code: 'json-malformed', count: 1 },
        { code: 'route-unknown', count: 2 },
      ],
      witnessed: { size: 3, at: 7 },
    });
    expect(await heartbeat.beat(null)).toBe(false);
    runs.clock.seconds += INTERVAL;
    expect(await heartbeat.beat(null)).toBe(true);
    expect(runs.last).toMatchObject({
      previous: runs.entries.length - 2,
      countedFrom: startedAt + INTERVAL,
      refusals: [],
      witnessed: null,
    });
  });

  it('RP-36: a run that begins in a silence ends it at once', async () => {
    const runs = await Runs.create();
    const first = await runs.start();
    runs.clock.seconds += INTERVAL;
    await first.heartbeat.beat(null);
    runs.clock.seconds += 60;
    const second = await runs.start();
    expect(await second.heartbeat.beat(null)).toBe(false);
    runs.clock.seconds += INTERVAL;
    const third = await runs.start();
    expect(await third.heartbeat.beat(null)).toBe(true);
    expect(runs.last).toMatchObject({ startedAt: runs.clock.seconds, countedFrom: runs.clock.seconds });
  });

  it('RP-36: none is logged by a clock that is not to be trusted, and what was counted stays', async () => {
    const runs = await Runs.create();
    const { heartbeat, counts } = await runs.start();
    counts.refuse('route-unknown');
    const { length } = runs.entries;
    const { monotonicMilliseconds } = runs.clock;
    const stopped = monotonicMilliseconds();
    runs.clock.monotonicMilliseconds = () => stopped;
    runs.clock.seconds += INTERVAL;
    expect(await refusalCodeAsync(() => heartbeat.beat(null))).toBe('server-clock');
    expect(runs.entries).toHaveLength(length);
    runs.clock.monotonicMilliseconds = monotonicMilliseconds;
    await heartbeat.beat(null);
    expect(runs.last).toMatchObject({ refusals: [{ code: 'route-unknown', count: 1 }] });
  });

  it('RP-37: what is counted while an entry is written stands in the next one', async () => {
    const runs = await Runs.create();
    const { heartbeat, counts } = await runs.start();
    counts.refuse('a');
    runs.clock.seconds += INTERVAL;
    const beating = heartbeat.beat(null);
    counts.refuse('a');
    counts.handOut('enrolments');
    await beating;
    expect(runs.last).toMatchObject({ refusals: [{ code: 'a', count: 1 }] });
    expect(counts.current()).toEqual({
      handedOut: { challenges: 0, enrolments: 1 },
      refusals: new Map([['a', 1]]),
    });
  });

  it('RP-37: no sender makes it large', async () => {
    const runs = await Runs.create();
    const { heartbeat, counts } = await runs.start();
    for (let i = 0; i < 100_000; i += 1) counts.refuse(`code-${i % 1000}`);
    runs.clock.seconds += INTERVAL;
    await heartbeat.beat(null);
    const { refusals } = runs.last as HeartbeatEntry;
    expect(refusals).toHaveLength(257);
    expect(refusals.find(({ code }) => code === 'other')?.count).toBe(744 * 100);
    expect(encodeEntry(runs.last!).length).toBeLessThan(16_384);
    expect(counts.current().refusals.size).toBe(0);
  });
});

function post(server: TestServer, path: string, body: Uint8Array | string): Promise<number> {
  const headers = { 'content-type': 'application/json' };
  const options = { method: 'POST', headers, ca: server.identity.authorityCertificate };
  return new Promise((resolve, reject) => {
    const outgoing = request(`${server.running.address}${path}`, options, (incoming) => {
      incoming.resume().on('end', () => {
        resolve(incoming.statusCode ?? 0);
      });
    });
    outgoing.on('error', reject).end(body);
  });
}

describe('a running server', () => {
  afterEach(() => {
    vi.useRealTimers();
  });

  it('RP-36, RP-37, RP-38: logs what it handed out and refused to nobody in particular', async () => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
    const server = await TestServer.createReady();
    const challenge = encodeCanonicalJson({ version: 1, lab: 'lab-one', manifestDigest });
    expect(await post(server, '/v1/challenges', challenge)).toBe(200);
    expect(await post(server, '/v1/challenges', '{ }')).toBe(400);
    expect(await post(server, '/v1/releases', '{ }')).toBe(400);
    expect(await post(server, '/nowhere', '')).toBe(404);
    await enrol(server.agent(), server.tpm.enrolling);
    await requestRelease(server.agent(), SUBJECT, [server.tpm.attester]);
    server.clock.advance(INTERVAL);
    await vi.advanceTimersByTimeAsync(30_000);
    const entry = await vi.waitFor(async () => {
      const last = await server.lastEntry();
      expect(last.type).toBe('heartbeat');
      return last;
    });
    expect(entry).toMatchObject({
      previous: null,
      intervalSeconds: INTERVAL,
      decisions: { granted: 1, refused: 0 },
      handedOut: { challenges: 2, enrolments: 1 },
      refusals: [
        { code: 'json-not-canonical', count: 2 },
        { code: 'route-unknown', count: 1 },
      ],
      witnessed: null,
    });
  }, 60_000);
});

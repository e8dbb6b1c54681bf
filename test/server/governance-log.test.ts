import { describe, expect, it } from 'vitest';

import { encodeEntry, statementEntry } from '../../src/governance/entries.ts';
import { makeStatement, signByEach } from '../../src/governance/statements.ts';
import { leafHash } from '../../src/log/merkle.ts';
import { GovernanceLog, type EntryLog, type LoggedEntry } from '../../src/server/governance-log.ts';
import {
  exampleGenesis,
  examplePredicates,
  predicateOf,
  readyLog,
  signers,
  START,
} from '../support/governance.ts';
import { refusalCode, refusalCodeAsync } from '../support/refusal-code.ts';

const at = START + 40 * 86_400;
const clock = { posixSeconds: () => at, monotonicMilliseconds: () => 0 };

async function* stream(entries: readonly Uint8Array[]): AsyncGenerator<Uint8Array> {
  for (const entry of entries) yield await Promise.resolve(entry);
}

/** A log that answers when it is told to. */
class HeldLog implements EntryLog {
  readonly appended: Uint8Array[] = [];
  private readonly waiting: (() => void)[] = [];
  private next: bigint;

  constructor(size: number) {
    this.next = BigInt(size);
  }

  append(entry: Uint8Array): Promise<LoggedEntry> {
    this.appended.push(entry);
    const index = this.next;
    this.next += 1n;
    return new Promise((resolve) => {
      this.waiting.push(() => {
        resolve({ index, leafHash: leafHash(entry), proof: '' });
      });
    });
  }

  answer(): void {
    for (const resolve of this.waiting.splice(0)) resolve();
  }
}

async function holdBy(signer = signers.anna) {
  const [envelope] = await signByEach(
    makeStatement('hold/v1', predicateOf('hold/v1', examplePredicates.hold)),
    [signer],
  );
  return (_state: unknown, time: number) => statementEntry(time, envelope!);
}

async function openReady(log?: EntryLog) {
  const { entries, state } = await readyLog();
  const held = new HeldLog(entries.length);
  const governance = await GovernanceLog.open(log ?? held, stream(entries.map(encodeEntry)), clock);
  return { governance, held, state };
}

describe('the state of governance in a server', () => {
  it('RP-6: begins with the genesis entry and is the fold over all entries', async () => {
    const { governance, state } = await openReady();
    expect(governance.state).toEqual(state);
    const log = new HeldLog(0);
    expect(await refusalCodeAsync(() => GovernanceLog.open(log, stream([]), clock))).toBe('home-mode');
    const { entries } = await readyLog();
    const withoutGenesis = stream(entries.slice(1).map(encodeEntry));
    expect(await refusalCodeAsync(() => GovernanceLog.open(log, withoutGenesis, clock))).toBe('home-mode');
  });

  it('W2: an entry is applied when it is handed over, and answered when it is durable', async () => {
    const { governance, held } = await openReady();
    let answered = false;
    const recorded = governance.record(await holdBy()).then((entry) => {
      answered = true;
      return entry;
    });
    expect(governance.state.holds.size).toBe(1);
    await Promise.resolve();
    expect(answered).toBe(false);
    held.answer();
    expect((await recorded).effects).toContainEqual(expect.objectContaining({ effect: 'held' }));
  });

  it('GV-3: the time of entries never runs backwards', async () => {
    const { entries, state } = await readyLog();
    const slow = { posixSeconds: () => state.at - 200, monotonicMilliseconds: () => 0 };
    const governance = await GovernanceLog.open(
      new HeldLog(entries.length),
      stream(entries.map(encodeEntry)),
      slow,
    );
    expect(governance.now()).toBe(state.at);
  });

  const YEARS = 10 * 365 * 86_400;

  it.each([-YEARS, -301, 301, YEARS])(
    'LC-17: a clock that is set by %d seconds decides nothing',
    async (jump) => {
      const { entries, state } = await readyLog();
      let [wall, running] = [state.at + 1000, 0];
      const turned = { posixSeconds: () => wall, monotonicMilliseconds: () => running * 1000 };
      const held = new HeldLog(entries.length);
      const governance = await GovernanceLog.open(held, stream(entries.map(encodeEntry)), turned);
      running += 3600;
      wall += 3600;
      expect(governance.now()).toBe(state.at + 4600);
      wall += jump;
      const make = await holdBy(signers.anna);
      expect(await refusalCodeAsync(() => governance.record(make))).toBe('server-clock');
      expect(governance.state.size).toBe(entries.length);
    },
  );

  it('LC-17: a server whose clock stands before its log decides nothing', async () => {
    const { entries, state } = await readyLog();
    const slow = { posixSeconds: () => state.at - YEARS, monotonicMilliseconds: () => 0 };
    const held = new HeldLog(entries.length);
    const governance = await GovernanceLog.open(held, stream(entries.map(encodeEntry)), slow);
    expect(refusalCode(() => governance.now())).toBe('server-clock');
  });

  it('an entry against the rules is refused before it is logged and changes nothing', async () => {
    const { governance, held } = await openReady();
    const before = governance.state;
    const make = await holdBy(signers.mallory);
    expect(await refusalCodeAsync(() => governance.record(make))).toBe('dsse-threshold');
    const second = (): Promise<unknown> => governance.record(() => exampleGenesis());
    expect(await refusalCodeAsync(second)).toMatch(/^governance-/);
    expect(governance.state).toBe(before);
    expect(held.appended).toEqual([]);
    expect(governance.isStopped).toBe(false);
  });

  it('RP-22: after a failed append, or one at another place, nothing is decided any more', async () => {
    const failing: EntryLog = { append: () => Promise.reject(new Error('disk full')) };
    const misplacing: EntryLog = {
      append: (entry) => Promise.resolve({ index: 0n, leafHash: leafHash(entry), proof: '' }),
    };
    for (const log of [failing, misplacing]) {
      const { governance } = await openReady(log);
      const make = await holdBy();
      expect(await refusalCodeAsync(() => governance.record(make))).toBe('server-stopped');
      expect(governance.isStopped).toBe(true);
      expect(await refusalCodeAsync(() => governance.record(make))).toBe('server-stopped');
    }
  });

  it('TL-21: entries that wait are bounded, and room comes back', async () => {
    const { governance, held } = await openReady();
    const enrolment = (i: number) => (_state: unknown, time: number) => ({
      version: 1 as const,
      type: 'enrolment' as const,
      at: time,
      lab: 'lab-one',
      attestationKeyName: `000b${i.toString(16).padStart(64, '0')}`,
      endorsementKeyDigest: examplePredicates.accreditation.machines[0].endorsementKeyDigest,
      endorsementCertificateDigest: '00'.repeat(32),
      simulated: false,
    });
    const waiting = Array.from({ length: 256 }, (_, i) => governance.record(enrolment(i)));
    expect(await refusalCodeAsync(() => governance.record(enrolment(999)))).toBe('server-busy');
    held.answer();
    await Promise.all(waiting);
    const next = governance.record(enrolment(999));
    held.answer();
    expect((await next).index).toBe(BigInt(governance.state.size - 1));
  });
});

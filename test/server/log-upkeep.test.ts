import { describe, expect, it, vi } from 'vitest';

import { toUtf8 } from '../../attestation/core/bytes.ts';
import type { HeartbeatEntry } from '../../src/governance/entries.ts';
import type { VerifiedCheckpoint } from '../../src/log/checkpoint.ts';
import { createReleaseLog } from '../../src/log/log-folder.ts';
import { createLogger } from '../../src/platform/logging.ts';
import { LogUpkeep, watchLog } from '../../src/server/log-upkeep.ts';
import { testSigner } from '../log/test-signer.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

const signer = testSigner('log.example/evaluation');
const REPUBLISH = 600;

/** A log, and witnesses that cosign where a test says so. */
async function keptLog() {
  const log = await createReleaseLog(await temporaryFolder(), { origin: signer.key.name, signers: [signer] });
  const known = { seconds: 0, republished: 0, isMet: true, broken: false };
  const beats: HeartbeatEntry['witnessed'][] = [];
  const republish = async (): Promise<void> => {
    known.republished += 1;
    if (known.broken) throw new Error('token removed');
    await log.republish();
  };
  const standingOf = ({ size }: VerifiedCheckpoint) =>
    Promise.resolve({ isMet: known.isMet, at: known.isMet ? size + 100n : undefined });
  const upkeep = new LogUpkeep({
    log: {
      get published() {
        return log.published;
      },
      republish,
    },
    witnesses: { standingOf },
    heartbeat: { beat: (witnessed) => Promise.resolve(beats.push(witnessed) > 0) },
    clock: { posixSeconds: () => 0, monotonicMilliseconds: () => known.seconds * 1000 },
    republishSeconds: REPUBLISH,
    logger: createLogger('silent'),
  });
  /** How often the checkpoint was renewed by one look. */
  const look = async (afterSeconds: number): Promise<number> => {
    const before = known.republished;
    known.seconds += afterSeconds;
    await upkeep.look();
    return known.republished - before;
  };
  return { log, known, beats, upkeep, look };
}

describe('a log that is looked after', () => {
  it('WT-22: is renewed when it is found, and then at the interval', async () => {
    const { log, look } = await keptLog();
    expect(await look(0)).toBe(1);
    expect(await look(REPUBLISH - 1)).toBe(0);
    expect(await look(1)).toBe(1);
    expect(await look(30)).toBe(0);
    await log.close();
  });

  it('WT-22: an entry renews it as well', async () => {
    const { log, look } = await keptLog();
    await look(0);
    await log.append(toUtf8('entry'));
    expect(await look(REPUBLISH - 1)).toBe(0);
    expect(await look(REPUBLISH - 1)).toBe(0);
    expect(await look(1)).toBe(1);
    await log.close();
  });

  it('WT-23: is taken to the witnesses at each look while it lacks their quorum', async () => {
    const { log, known, look, beats } = await keptLog();
    known.isMet = false;
    expect([await look(0), await look(30), await look(30)]).toEqual([1, 1, 1]);
    known.isMet = true;
    expect(await look(30)).toBe(0);
    expect(beats).toEqual([null, null, null, { size: 0, at: 100 }]);
    await log.close();
  });

  it('GV-86: heartbeats go on naming the largest checkpoint that had the quorum', async () => {
    const { log, known, look, beats } = await keptLog();
    await look(0);
    await log.append(toUtf8('entry'));
    known.isMet = false;
    await look(30);
    known.isMet = true;
    await look(30);
    expect(beats).toEqual([
      { size: 0, at: 100 },
      { size: 0, at: 100 },
      { size: 1, at: 101 },
    ]);
    await log.close();
  });

  it('RP-36: what fails keeps nothing else from being done, and is tried again', async () => {
    const { log, known, look, beats } = await keptLog();
    known.broken = true;
    expect([await look(0), await look(30)]).toEqual([1, 1]);
    expect(beats).toHaveLength(2);
    known.broken = false;
    expect([await look(30), await look(30)]).toEqual([1, 0]);
    await log.close();
  });

  it('looks twice a minute, and not when it has ended', async () => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
    const { log, upkeep, beats } = await keptLog();
    const watch = watchLog(upkeep);
    await vi.advanceTimersByTimeAsync(60_000);
    await watch.stop();
    expect(beats).toHaveLength(2);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(beats).toHaveLength(2);
    vi.useRealTimers();
    await log.close();
  });
});

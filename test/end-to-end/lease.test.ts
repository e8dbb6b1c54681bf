import { setTimeout as pause } from 'node:timers/promises';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';

import { ask } from '../../src/cli/demo/conversation.ts';
import { processesOfGroup } from '../support/road-processes.ts';
import type { Program } from '../support/road-program.ts';
import { LAB, MODEL, Road } from '../support/road.ts';
import { swtpmMissing } from '../support/swtpm.ts';

/** Long enough that a slow machine gets its renewal in the second half of it. */
const LEASE_SECONDS = 6;
const LEASE_MILLISECONDS = LEASE_SECONDS * 1000;
/** RP-31 gives one second; the processes of this test share their processors with others. */
const END_MILLISECONDS = 1000 + 1000;

describe.skipIf(swtpmMissing !== undefined)('the lease of a running agent', () => {
  let road: Road;
  let agent: Program;
  let address: string;

  beforeAll(async () => {
    road = await Road.build({ leaseSeconds: LEASE_SECONDS });
    return () => road.close();
  }, 120_000);

  beforeEach(async () => {
    agent = road.startAgent();
    address = await agent.line('listening: ');
  }, 60_000);
  afterEach(async () => {
    await agent.stop();
  });

  const answers = async (): Promise<boolean> => {
    const reply = await ask(address, MODEL, 'What is a tide?');
    return reply.kind === 'answer' && reply.text !== '';
  };

  it('RP-29, RP-30: is renewed before it ends, and the log shows each renewal', async () => {
    const startedAt = performance.now();
    await agent.line('renewed: ', 2);
    expect(performance.now() - startedAt).toBeLessThan(2 * LEASE_MILLISECONDS);
    expect(await answers()).toBe(true);
    const granted = (await road.decisions()).filter(({ outcome }) => outcome === 'granted').slice(0, 3);
    expect(granted.map(({ renews }) => renews)).toEqual([
      null,
      ...granted.slice(0, 2).map(({ lease }) => lease?.lease),
    ]);
  });

  it('RP-31, W7: outlives a server that is gone, but not its lease', async () => {
    await agent.line('renewed: ');
    const renewedAt = performance.now();
    road.server.signal('SIGKILL');
    const lastAnswerAt = await askUntilRefused();
    const { exitCode, code, lines } = await agent.ended;
    const heldMilliseconds = performance.now() - renewedAt;
    expect({ exitCode, code }).toEqual({ exitCode: 1, code: 'lease-ended' });
    expect(lines.some((line) => line.startsWith('renewal failed, will be tried again: server-'))).toBe(true);
    expect(lastAnswerAt - renewedAt).toBeGreaterThan(LEASE_MILLISECONDS / 2);
    expect(lastAnswerAt - renewedAt).toBeLessThan(LEASE_MILLISECONDS);
    expect(heldMilliseconds).toBeLessThan(LEASE_MILLISECONDS + END_MILLISECONDS);
    expect(await processesOfGroup(agent.processId)).toEqual([]);
    await road.startServer();
  });

  /** Asks again and again until no answer comes. @returns when the last request that was answered was sent */
  async function askUntilRefused(): Promise<number> {
    let lastAnswerAt = 0;
    for (;;) {
      const sentAt = performance.now();
      const reply = await ask(address, MODEL, 'What is a tide?').catch(() => undefined);
      if (reply?.kind !== 'answer') {
        if (reply !== undefined) expect(reply).toMatchObject({ status: 403, code: 'lease_over' });
        return lastAnswerAt;
      }
      lastAnswerAt = sentAt;
      await pause(100);
    }
  }

  it('RP-31, W7: ends also while the engine is being started', async () => {
    await agent.stop();
    const loading = road.startAgent();
    await loading.line('granted: ');
    const grantedAt = performance.now();
    road.server.signal('SIGKILL');
    const engine = await childrenOf(loading);
    // An engine that never comes up, as one does for minutes that loads hundreds of gigabytes.
    for (const processId of engine) process.kill(processId, 'SIGSTOP');
    const { exitCode, code, lines } = await loading.ended;
    expect({ exitCode, code }).toEqual({ exitCode: 1, code: 'lease-ended' });
    expect(lines.filter((line) => line.startsWith('listening: '))).toEqual([]);
    expect(performance.now() - grantedAt).toBeLessThan(LEASE_MILLISECONDS + END_MILLISECONDS);
    expect(await processesOfGroup(loading.processId)).toEqual([]);
    await road.startServer();
  });

  /** The processes that a program has started, once there are any. */
  async function childrenOf({ processId }: Program): Promise<readonly number[]> {
    for (;;) {
      const children = (await processesOfGroup(processId)).filter((found) => found !== processId);
      if (children.length > 0) return children;
      await pause(10);
    }
  }

  it('RP-31, W8: ends when one person holds the model, with the code of the server', async () => {
    expect(await answers()).toBe(true);
    await road.state(['alice'], 'hold', '--lab', LAB, '--reason', 'a critical finding');
    const heldAt = performance.now();
    const { exitCode, code } = await agent.ended;
    expect(performance.now() - heldAt).toBeLessThan(LEASE_MILLISECONDS);
    expect({ exitCode, code }).toEqual({ exitCode: 1, code: 'floor-held' });
    expect(await processesOfGroup(agent.processId)).toEqual([]);
    await expect(ask(address, MODEL, 'What is a tide?')).rejects.toThrow();
  });
});

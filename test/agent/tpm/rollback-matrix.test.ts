import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

import { LeaseClock } from '../../../src/agent/lease-clock-reader.ts';
import { TpmClock } from '../../../src/agent/tpm/lease-clock-tpm.ts';
import type { SleepingClock } from '../../../src/platform/clock.ts';
import { systemClock } from '../../../src/platform/clock.ts';
import { RollbackWorld } from '../../support/rollback-world.ts';
import { refusalCodeAsync } from '../../support/refusal-code.ts';
import { swtpmMissing } from '../../support/swtpm.ts';

const TEN_YEARS_SECONDS = 10 * 365 * 86_400;

/** What the machine asks for after something was done to it: another key, and a further lease in place of its first. */
interface Row {
  readonly what: string;
  /** Whether a start of the machine waits for the end of its last lease. */
  readonly policy: 'required' | 'exclusive';
  readonly tamper: (world: RollbackWorld) => Promise<void>;
  /** Codes of the server. */
  readonly key: string;
  readonly lease: string;
  /** By which the agent ends its own lease, where the machine goes on; undefined where it cannot. */
  readonly agent: string | undefined;
}

/** The state of before an exchange is put in the place of that after it. */
async function restoreOlderState(world: RollbackWorld): Promise<void> {
  const folder = await world.copyState('copy');
  await world.ask(world.machine.tpm);
  await world.restoreState(folder);
}

const ROWS: readonly Row[] = [
  {
    what: 'nothing',
    policy: 'exclusive',
    tamper: () => Promise.resolve(),
    key: 'accepted',
    lease: 'accepted',
    agent: undefined,
  },
  {
    what: 'an older state is restored',
    policy: 'required',
    tamper: restoreOlderState,
    key: 'tpm-ratchet-fork',
    lease: 'machine-frozen',
    agent: 'lease-clock-restarted',
  },
  {
    what: 'an older state is restored',
    policy: 'exclusive',
    tamper: restoreOlderState,
    key: 'tpm-ratchet-fork',
    lease: 'machine-frozen',
    agent: 'lease-clock-restarted',
  },
  {
    what: 'the TPM is cleared',
    policy: 'exclusive',
    tamper: (world) => world.clear(),
    key: 'tpm-ratchet-fork',
    lease: 'machine-frozen',
    agent: 'lease-clock-restarted',
  },
  {
    what: 'the TPM is reset under the machine',
    policy: 'exclusive',
    tamper: (world) => world.resetTpm(),
    key: 'tpm-pcr-initial',
    lease: 'tpm-pcr-initial',
    agent: 'lease-clock-restarted',
  },
  {
    what: 'the TPM is reset and the good boot extended again',
    policy: 'exclusive',
    tamper: (world) => world.restart(),
    key: 'machine-lease-live',
    lease: 'renewal-restarted',
    agent: 'lease-clock-restarted',
  },
  {
    what: 'the clock of the TPM is set forward by ten years',
    policy: 'exclusive',
    tamper: (world) => world.setTpmClock(TEN_YEARS_SECONDS * 1000),
    key: 'tpm-clock-ahead',
    lease: 'tpm-clock-ahead',
    agent: 'lease-clock-ahead',
  },
  {
    what: 'the clock of the server is set forward by ten years',
    policy: 'exclusive',
    tamper: (world) => {
      world.server.clock.setWall(TEN_YEARS_SECONDS);
      return Promise.resolve();
    },
    key: 'server-clock',
    lease: 'server-clock',
    agent: undefined,
  },
  {
    what: 'the clock of the server is set back by ten years',
    policy: 'exclusive',
    tamper: (world) => {
      world.server.clock.setWall(-TEN_YEARS_SECONDS);
      return Promise.resolve();
    },
    key: 'server-clock',
    lease: 'server-clock',
    agent: undefined,
  },
];

describe.skipIf(swtpmMissing !== undefined)('a machine that is set back, copied, cleared or reset', () => {
  let world: RollbackWorld;
  afterEach(() => world.close());

  describe.each(ROWS)('$what ($policy)', ({ policy, tamper, key, lease, agent }) => {
    beforeEach(async () => {
      world = await RollbackWorld.build(policy);
    }, 60_000);

    it(`gets no key (${key}), no further lease (${lease}) and ends its own (${String(agent)})`, async () => {
      const { tpm } = world.machine;
      const held = await world.ask(tpm);
      const leaseClock = await LeaseClock.begin(systemClock, () => new TpmClock(tpm.address).read());
      await tamper(world);
      await leaseClock.readTpm();
      expect({
        key: await world.answer(tpm),
        lease: await world.answer(tpm, held.lease.lease),
        agent: leaseClock.endedBy?.code,
      }).toEqual({ key, lease, agent });
    }, 60_000);
  });

  describe('two agents from one state', () => {
    it('LC-30: a copy that missed a step gets no key, and nor does the original any more', async () => {
      world = await RollbackWorld.build('required');
      const { tpm } = world.machine;
      const folder = await world.copyState('copy');
      const held = await world.ask(tpm);
      const copy = await world.startCopy(folder);
      await world.enrol(copy);
      expect({
        copy: await world.answer(copy),
        copiedLease: await world.answer(copy, held.lease.lease),
        original: await world.answer(tpm),
        lease: await world.answer(tpm, held.lease.lease),
      }).toEqual({
        copy: 'tpm-ratchet-fork',
        copiedLease: 'machine-frozen',
        original: 'machine-frozen',
        lease: 'machine-frozen',
      });
      await world.enrol(tpm);
      expect(await world.answer(tpm)).toBe('machine-frozen');
      await world.enrol(tpm, true);
      expect(await world.answer(tpm)).toBe('accepted');
    }, 60_000);

    it('LC-33: a copy of the present state gets no key while the lease of the original goes on', async () => {
      world = await RollbackWorld.build('exclusive');
      const { tpm } = world.machine;
      const held = await world.ask(tpm);
      const copy = await world.startCopy(await world.copyState('copy'));
      await world.enrol(copy);
      expect(await world.answer(copy)).toBe('machine-lease-live');
      // The copy has shown where it stands; what the original shows then is another past.
      expect(await world.answer(tpm, held.lease.lease)).toMatch(/^tpm-ratchet-fork$|^tpm-clock-rollback$/);
      expect(await world.answer(copy)).toBe('machine-frozen');
    }, 60_000);
  });

  it('LC-31, RD-4: a log that asks again for the same entry does not take it for another request', async () => {
    world = await RollbackWorld.build('required');
    const { governance } = world.server.home;
    const record = governance.record.bind(governance);
    vi.spyOn(governance, 'record').mockImplementation((make) =>
      record((state, at) => {
        make(state, at);
        return make(state, at);
      }),
    );
    expect(await world.answer(world.machine.tpm)).toBe('accepted');
  }, 60_000);

  it('the clock of the TPM cannot be set back', async () => {
    world = await RollbackWorld.build('exclusive');
    expect(await refusalCodeAsync(() => world.setTpmClock(-1000))).toBe('tpm-response');
  }, 60_000);
});

it('LC-1: the wall clock of the agent, set by ten years either way, makes no lease longer', async () => {
  for (const jump of [TEN_YEARS_SECONDS, -TEN_YEARS_SECONDS]) {
    let [wall, running] = [0, 0];
    const kernel: SleepingClock = {
      posixSeconds: () => wall,
      monotonicMilliseconds: () => running,
      awakeMilliseconds: () => running,
    };
    const leaseClock = await LeaseClock.begin(kernel, undefined);
    wall += jump;
    running += 60_000;
    expect(leaseClock.asClock(kernel).monotonicMilliseconds()).toBe(60_000);
  }
});

import { afterAll, beforeAll, describe, vi } from 'vitest';

import { openTpm } from '../../../native/tpm/open.ts';
import type { TpmTransport } from '../../../native/tpm/transport.ts';
import { tpmConnectionRefusals } from '../../../native/tpm/refusals.ts';
import { Capability, getCapability, HandleRange } from '../../../native/tpm-commands/commands.ts';
import { create, load, unseal } from '../../../native/tpm-commands/sealing-commands.ts';
import { Tpm } from '../../../native/tpm-commands/tpm.ts';
import { fileRefusals, writeFileDurably } from '../../../src/platform/files.ts';
import { openTpmCustody } from '../../../src/keys/tpm/tpm-custody.ts';
import { startTestTpm, swtpmMissing, type TestTpm } from '../../support/swtpm.ts';
import { approveNow, newTpmCustody } from '../../support/tpm-custody.ts';
import { type CustodyFault, type CustodyFixture, describeCustodyContract } from '../custody-contract.ts';

/** TPM2_GetCapability lists sessions of every kind from here on; each has the handle of its own kind. */
const LOADED_SESSIONS = 0x02000000;

/** Each fault has the TPM open the custody several times. */
vi.setConfig({ testTimeout: 180_000 });

if (swtpmMissing !== undefined) process.stderr.write(`skipped: ${swtpmMissing}\n`);

function noAnswer(): Error {
  const facts = { field: 'command', expected: 'an answer', found: 'none' };
  return tpmConnectionRefusals.error('tpm-timeout', facts);
}

function notWritten(): Error {
  const facts = { field: 'custody.json', expected: 'a written file', found: 'EIO' };
  return fileRefusals.error('file-not-written', facts);
}

async function unloadAll(tpm: Tpm): Promise<void> {
  for (const property of [HandleRange.transient, LOADED_SESSIONS]) {
    const parameters = { capability: Capability.handles, property, count: 8 };
    const { data } = (await tpm.run(getCapability, { handles: [], parameters })).parameters;
    if (data.capability !== Capability.handles) throw new Error('no list of handles');
    for (const handle of data.handles) {
      if (handle >>> 24 === 0x80 || property === LOADED_SESSIONS) await tpm.flush(handle);
    }
  }
}

/** The commands that seal or open something. Those between them change nothing that stays. */
const STEPS: ReadonlySet<number> = new Set([create, load, unseal].map(({ code }) => code));
const CODE_OFFSET = 6;

describe.skipIf(swtpmMissing !== undefined)('custody by a TPM', () => {
  let simulator: TestTpm;
  beforeAll(async () => {
    simulator = await startTestTpm();
  });
  afterAll(async () => {
    await simulator.remove();
  });

  async function makeFixture(): Promise<CustodyFixture> {
    const place = await newTpmCustody(simulator);
    const foreign = await newTpmCustody(simulator);
    await approveNow(place);
    await approveNow(foreign);
    let fault: CustodyFault | undefined;
    let steps = 0;
    const happened = (): boolean => fault !== undefined && steps > fault.step;
    /** Runs a step, or fails before or after it. */
    const step = async <T>(work: () => Promise<T>, lost: () => Error): Promise<T> => {
      const moment = fault?.step === steps ? fault.moment : undefined;
      steps += 1;
      if (moment === 'before') throw lost();
      const result = await work();
      if (moment === 'after') throw lost();
      return result;
    };
    const failing = (transport: TpmTransport): TpmTransport => ({
      address: transport.address,
      transmit: (command, timeoutSeconds) => {
        const send = (): Promise<Uint8Array> => transport.transmit(command, timeoutSeconds);
        return STEPS.has(Buffer.from(command).readUInt32BE(CODE_OFFSET)) ? step(send, noAnswer) : send();
      },
      // As the kernel's resource manager does: what a program left loaded goes with its connection.
      close: async () => {
        if (happened()) await unloadAll(Tpm.over(transport));
        await transport.close();
      },
    });
    const replace = (path: string, bytes: Uint8Array): Promise<void> =>
      step(() => writeFileDurably(path, bytes, 0o600), notWritten);
    return {
      open: () =>
        openTpmCustody({
          ...place,
          replace,
          openTpm: async (address) => Tpm.over(failing(await openTpm(address))),
        }),
      openForeign: () => openTpmCustody(foreign),
      setFault: (next) => {
        fault = next;
        steps = 0;
      },
      faultHappened: happened,
      remove: async () => {
        await place.remove();
        await foreign.remove();
      },
    };
  }

  describeCustodyContract({ provider: 'tpm', makeFixture, damagedBytes: 200, randomInputs: 60 });
});

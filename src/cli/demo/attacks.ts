/** Attempts that need a dishonest client: made with the agent's own library, with one thing changed. */

import { isRefusal, type Refusal } from '../../../attestation/core/refusal.ts';
import type { DeviceAttester } from '../../agent/evidence.ts';
import { prepareRelease, type KeyReleaseOptions, type ReleaseSubject } from '../../agent/key-release.ts';
import type { DemoDevice } from './device.ts';

/** Everything that a lab needs to ask for a key. */
export interface Asking {
  readonly options: KeyReleaseOptions;
  readonly subject: ReleaseSubject;
  readonly device: Pick<DemoDevice, 'open' | 'forge'>;
}

/** Sends a request whose evidence has one bit changed on its way. @returns what the server said, if it refused */
export async function sendForgedEvidence({ options, subject, device }: Asking): Promise<Refusal | undefined> {
  const machine = await device.open();
  try {
    const forging = machine.attesters.map((attester) => forgingAttester(attester, device));
    const { envelope } = await prepareRelease(options, subject, forging);
    return await refusalOf(() => options.client.post('/v1/releases', envelope));
  } finally {
    await machine.close();
  }
}

/** Sends the same request twice. @returns what the server said to the second */
export async function sendTwice({ options, subject, device }: Asking): Promise<Refusal | undefined> {
  const machine = await device.open();
  try {
    const { envelope } = await prepareRelease(options, subject, machine.attesters);
    await options.client.post('/v1/releases', envelope);
    return await refusalOf(() => options.client.post('/v1/releases', envelope));
  } finally {
    await machine.close();
  }
}

function forgingAttester(attester: DeviceAttester, { forge }: Asking['device']): DeviceAttester {
  return {
    deviceClass: attester.deviceClass,
    bindsCompanions: attester.bindsCompanions,
    identity: attester.identity,
    collect: async (...asked) => forge(await attester.collect(...asked), attester.deviceClass),
  };
}

async function refusalOf(work: () => Promise<unknown>): Promise<Refusal | undefined> {
  try {
    await work();
    return undefined;
  } catch (error) {
    if (!isRefusal(error)) throw error;
    return error.refusal;
  }
}

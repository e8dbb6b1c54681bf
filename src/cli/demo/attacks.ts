/** Attempts that need a dishonest client: made with the agent's own library, with one thing changed. */

import { isRefusal, type Refusal } from '../../../attestation/core/refusal.ts';
import type { DeviceAttester } from '../../agent/evidence.ts';
import { prepareRelease, type KeyReleaseOptions, type ReleaseSubject } from '../../agent/key-release.ts';
import type { DemoDevice, OpenDevice } from './device.ts';

/** Everything that a lab needs to ask for a key. */
export interface Asking {
  readonly options: KeyReleaseOptions;
  readonly subject: ReleaseSubject;
  readonly device: Pick<DemoDevice, 'open' | 'forge'>;
}

/** Sends a request whose evidence has one bit changed on its way. @returns what the server said, if it refused */
export async function sendForgedEvidence({ options, subject, device }: Asking): Promise<Refusal | undefined> {
  const attester = await device.open();
  try {
    const { envelope } = await prepareRelease(options, subject, [forging(attester, device)]);
    return await refusalOf(() => options.client.post('/v1/releases', envelope));
  } finally {
    await attester.close();
  }
}

/** Sends the same request twice. @returns what the server said to the second */
export async function sendTwice({ options, subject, device }: Asking): Promise<Refusal | undefined> {
  const attester = await device.open();
  try {
    const { envelope } = await prepareRelease(options, subject, [attester]);
    await options.client.post('/v1/releases', envelope);
    return await refusalOf(() => options.client.post('/v1/releases', envelope));
  } finally {
    await attester.close();
  }
}

function forging(attester: OpenDevice, { forge }: Asking['device']): DeviceAttester {
  return {
    deviceClass: attester.deviceClass,
    bindsCompanions: attester.bindsCompanions,
    identity: attester.identity,
    collect: async (...question) => forge(await attester.collect(...question)),
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

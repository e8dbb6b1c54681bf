/** Attempts that need a dishonest client: made with the agent's own library, with one thing changed. */

import { fromBase64, toBase64 } from '../../../attestation/core/bytes.ts';
import type { JsonValue } from '../../../attestation/core/canonical-json.ts';
import { isRefusal, type Refusal } from '../../../attestation/core/refusal.ts';
import type { DeviceAttester } from '../../agent/evidence.ts';
import { prepareRelease, type KeyReleaseOptions, type ReleaseSubject } from '../../agent/key-release.ts';
import { TpmAttester } from '../../agent/tpm/attester.ts';

/** Everything that a lab needs to ask for a key. */
export interface Asking {
  readonly options: KeyReleaseOptions;
  readonly subject: ReleaseSubject;
  readonly tpm: string;
}

/** Sends a request whose quote has one byte changed on its way. @returns what the server said, if it refused */
export async function sendForgedQuote({ options, subject, tpm }: Asking): Promise<Refusal | undefined> {
  const attester = await TpmAttester.open(tpm);
  try {
    const { envelope } = await prepareRelease(options, subject, [forging(attester)]);
    return await refusalOf(() => options.client.post('/v1/releases', envelope));
  } finally {
    await attester.close();
  }
}

/** Sends the same request twice. @returns what the server said to the second */
export async function sendTwice({ options, subject, tpm }: Asking): Promise<Refusal | undefined> {
  const attester = await TpmAttester.open(tpm);
  try {
    const { envelope } = await prepareRelease(options, subject, [attester]);
    await options.client.post('/v1/releases', envelope);
    return await refusalOf(() => options.client.post('/v1/releases', envelope));
  } finally {
    await attester.close();
  }
}

function forging(attester: TpmAttester): DeviceAttester {
  return {
    deviceClass: attester.deviceClass,
    identity: attester.identity,
    collect: async (request, deviceValue) => {
      const evidence = (await attester.collect(request, deviceValue)) as { readonly attest: string };
      const attest = fromBase64(evidence.attest, 'attest').slice();
      // The last byte belongs to the digest of the PCR values.
      attest[attest.length - 1] = (attest.at(-1) ?? 0) ^ 1;
      return { ...evidence, attest: toBase64(attest) } satisfies JsonValue;
    },
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

/** The work that is disturbed: a log of a few entries, one process that extends it, and what that process says. */

import { z } from 'zod';

import { toUtf8 } from '../../attestation/core/bytes.ts';
import type { LogTrust } from '../../src/log/checkpoint.ts';
import { LogWitnesses } from '../../src/log/log-witnesses.ts';
import type { LogIdentity } from '../../src/log/publication.ts';
import type { LogLimits } from '../../src/log/release-log.ts';
import { formatVerifierKey } from '../../src/log/verifier-key.ts';
import { parseWitnessPolicy } from '../../src/log/witness-policy.ts';
import { systemClock } from '../../src/platform/clock.ts';
import { testSigner } from '../log/test-signer.ts';

const ORIGIN = 'log.example/evaluation';

export const logSigner = testSigner(ORIGIN);
export const trust: LogTrust = { origin: ORIGIN, keys: [logSigner.key] };
export const limits: LogLimits = { batchMilliseconds: 0, batchEntries: 16, waitingEntries: 100 };

/** Tells of each text before the signature over it can be anywhere. */
export function watchedIdentity(signed: (text: string) => void): LogIdentity {
  const sign = async (message: Uint8Array): Promise<Uint8Array> => {
    signed(new TextDecoder().decode(message));
    return await logSigner.sign(message);
  };
  return { origin: ORIGIN, signers: [{ key: logSigner.key, sign }] };
}

/** Where the witness of one log listens, as its operator would write it into a policy. */
export interface WitnessAddress {
  readonly url: string;
  readonly verifierKey: string;
  /** PEM */
  readonly authorityCertificate: string;
}

export function witnessesAt({ url, verifierKey, authorityCertificate }: WitnessAddress): LogWitnesses {
  const lines = [
    `log ${formatVerifierKey(logSigner.key)}`,
    `witness one ${verifierKey} ${url}`,
    'quorum one',
  ];
  const policy = parseWitnessPolicy(`${lines.join('\n')}\n`, 'policy');
  return new LogWitnesses({ policy, authorityCertificate, clock: systemClock });
}

/** What one appending process is told to do. Batches go in one after the other, the entries of one at the same time. */
export interface Work {
  readonly folder: string;
  readonly creates: boolean;
  readonly batches: readonly (readonly string[])[];
  readonly witness?: WitnessAddress | undefined;
}

export const workSchema: z.ZodType<Work> = z.strictObject({
  folder: z.string(),
  creates: z.boolean(),
  batches: z.array(z.array(z.string())),
  witness: z
    .strictObject({ url: z.string(), verifierKey: z.string(), authorityCertificate: z.string() })
    .optional(),
});

/** Each entry is the text of its own idempotency key, as long as its name asks for: `name*1000` has 1000 bytes. */
export function entryOf(text: string): Uint8Array {
  const length = Number(/\*(\d+)$/.exec(text)?.[1] ?? 0);
  return toUtf8(text.padEnd(length, '.'));
}

/** What an appending process says, one JSON document a line. */
export const eventSchema = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('signed'), text: z.string() }),
  z.strictObject({
    kind: z.literal('appended'),
    name: z.string(),
    index: z.string(),
    proof: z.string(),
  }),
  z.strictObject({ kind: z.literal('refused'), name: z.string(), code: z.string() }),
]);
export type WorkEvent = z.infer<typeof eventSchema>;

/** Only whole lines were said. */
export function readEvents(output: string): readonly WorkEvent[] {
  return output
    .split('\n')
    .slice(0, -1)
    .map((line) => eventSchema.parse(JSON.parse(line)));
}

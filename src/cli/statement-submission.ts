/** Statements from the command line: made, signed by each key on its own, and sent one envelope at a time. */

import { z } from 'zod';

import {
  decodeCanonicalJson,
  encodeCanonicalJson,
  type JsonValue,
} from '../../attestation/core/canonical-json.ts';
import type { PredicateName, PredicateOf } from '../governance/predicates.ts';
import { makeStatement } from '../governance/statements.ts';
import { systemClock } from '../platform/clock.ts';
import { encodeEnvelope, signStatement } from '../platform/dsse.ts';
import type { HttpClient } from '../platform/http-client.ts';
import { readShape } from '../platform/shape.ts';
import type { NamedSigner } from '../keys/signing-key.ts';
import { openSigningKeys, print, withServer } from './options.ts';

const answerSchema = z.looseObject({
  index: z.int(),
  effects: z.array(
    z.looseObject({ effect: z.string(), persons: z.int().optional(), needed: z.int().optional() }),
  ),
});

/** Options of every command that makes a statement. */
export interface SigningOptions {
  readonly profile: string;
  readonly key: readonly string[];
  readonly passphraseFile?: string;
}

/** What one signer says, less the time, which is filled in when it is signed. */
export type Unsigned<Name extends PredicateName> = Omit<PredicateOf<Name>, 'statedAt'>;

/**
 * Makes a statement, has every key sign it, sends the envelopes and prints what each brought about.
 *
 * @throws RefusalError what the server refuses: a rule of docs/spec/governance.md by its number; `key-*`, `server-*`
 */
export async function submitStatement<Name extends PredicateName>(
  options: SigningOptions,
  name: Name,
  makePredicate: (client: HttpClient) => Unsigned<Name> | Promise<Unsigned<Name>>,
): Promise<void> {
  const signers = await openSigningKeys(options.key, options.passphraseFile);
  await withServer(options.profile, async (client) => {
    const predicate = { ...(await makePredicate(client)), statedAt: systemClock.posixSeconds() };
    const statement = makeStatement(name, predicate as unknown as PredicateOf<Name>);
    for (const signer of signers) {
      const envelope = encodeEnvelope(await signStatement(statement, [signer]));
      print(describe(name, signer, await postEnvelope(client, envelope)));
    }
  });
}

async function postEnvelope(client: HttpClient, envelope: Uint8Array): Promise<JsonValue> {
  const document = decodeCanonicalJson(envelope, { maxBytes: envelope.length }, 'envelope');
  return await client.post('/v1/statements', encodeCanonicalJson({ version: 1, envelope: document }));
}

function describe(name: string, signer: NamedSigner, answer: JsonValue): string {
  const { index, effects } = readShape(answerSchema, answer, 'answer');
  const brought = effects
    .map(({ effect, persons, needed }) =>
      persons === undefined ? effect : `signature ${persons} of ${needed ?? '?'}`,
    )
    .join(', ');
  return `${name} signed by ${signer.name}: log entry ${index}: ${brought}`;
}

/** Statements from the command line: made, signed by each key on its own, and sent one envelope at a time. */

import { rm } from 'node:fs/promises';

import { z } from 'zod';

import {
  decodeCanonicalJson,
  encodeCanonicalJson,
  type JsonValue,
} from '../../attestation/core/canonical-json.ts';
import { describeStatement } from '../audit/wording.ts';
import {
  MAX_STATEMENT_BYTES,
  type NamedPredicate,
  type PredicateName,
  type PredicateOf,
} from '../governance/predicates.ts';
import { makeStatement, readStatement } from '../governance/statements.ts';
import type { NamedSigner } from '../keys/signing-key.ts';
import { readCanonicalFile, writeCanonicalFile } from '../platform/canonical-file.ts';
import { systemClock } from '../platform/clock.ts';
import { encodeEnvelope, encodeStatement, signStatement, type Statement } from '../platform/dsse.ts';
import type { HttpClient } from '../platform/http-client.ts';
import { readShape } from '../platform/shape.ts';
import { openSigningKeys, print, remark, withServer } from './options.ts';

const answerSchema = z.looseObject({
  index: z.int(),
  effects: z.array(
    z.looseObject({ effect: z.string(), persons: z.int().optional(), needed: z.int().optional() }),
  ),
});

/** Options of every command that signs a statement. */
export interface SigningOptions {
  readonly profile: string;
  readonly key: readonly string[];
  readonly passphraseFile?: string;
  /** Where the statement is written besides, for persons at other machines. */
  readonly statement?: string;
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
    if (options.statement === undefined) await signAndPost(client, name, statement, signers);
    else await signAndKeep(client, name, statement, signers, options.statement);
  });
}

/** Written first, so that nothing is sent when it cannot be; gone again when the server refuses (CL-2). */
async function signAndKeep(
  client: HttpClient,
  name: PredicateName,
  statement: Statement<JsonValue>,
  signers: readonly NamedSigner[],
  path: string,
): Promise<void> {
  await writeStatementFile(path, statement);
  try {
    await signAndPost(client, name, statement, signers);
  } catch (error) {
    await rm(path, { force: true });
    throw error;
  }
  print(`statement written to ${path}; others sign it with: weightgate statement sign ${path}`);
}

/**
 * Signs and sends a statement that another person made. Its bytes are the same, so that the signatures count together.
 *
 * @param path written by `--statement`; comes from whoever made it, so what it says is shown first
 * @throws RefusalError as `submitStatement`, and those of `readStatement`
 */
export async function submitStatementFile(path: string, options: SigningOptions): Promise<void> {
  const document = await readCanonicalFile(path, MAX_STATEMENT_BYTES);
  const { name, predicate } = readStatement(encodeCanonicalJson(document));
  remark(`${path}: ${describeStatement({ name, predicate } as NamedPredicate, undefined)}`);
  const signers = await openSigningKeys(options.key, options.passphraseFile);
  await withServer(options.profile, async (client) => {
    await signAndPost(client, name, makeStatement(name, predicate), signers);
  });
}

async function signAndPost(
  client: HttpClient,
  name: PredicateName,
  statement: Statement<JsonValue>,
  signers: readonly NamedSigner[],
): Promise<void> {
  for (const signer of signers) {
    const envelope = encodeEnvelope(await signStatement(statement, [signer]));
    print(describe(name, signer, await postEnvelope(client, envelope)));
  }
}

async function writeStatementFile(path: string, statement: Statement<JsonValue>): Promise<void> {
  const payload = encodeStatement(statement);
  const document = decodeCanonicalJson(payload, { maxBytes: payload.length }, 'statement');
  await writeCanonicalFile(path, document, { overwrite: false });
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

/**
 * Statements of persons: made, signed, read and verified. One envelope carries one signature, so that each entry of
 * the log is the act of one person (docs/spec/governance.md section 2).
 */

import { createHash } from 'node:crypto';

import { z } from 'zod';

import { excerpt, fromBase64 } from '../../attestation/core/bytes.ts';
import { decodeCanonicalJson, type JsonValue } from '../../attestation/core/canonical-json.ts';
import {
  decodeStatement,
  dsseRefusals,
  keyIdOf,
  signStatement,
  STATEMENT_PAYLOAD_TYPE,
  verifyEnvelope,
  type Envelope,
  type Statement,
} from '../platform/dsse.ts';
import type { Ed25519Signer } from '../platform/ed25519.ts';
import { readShape } from '../platform/shape.ts';
import {
  MAX_STATEMENT_BYTES,
  PREDICATE_TYPE_PREFIX,
  predicateSchemas,
  subjectsOf,
  type NamedPredicate,
  type PredicateName,
  type PredicateOf,
} from './predicates.ts';
import { governanceFormRefusals } from './refusals.ts';
import type { Person, TrustRoot } from './trust-root.ts';

/** Any statement, as far as it must be known to find the schema of its kind. */
const kindSchema = z.looseObject({ predicateType: z.string() });

/** A statement and who is proven to have signed it. */
export interface SignedStatement {
  readonly person: Person;
  readonly named: NamedPredicate;
  /** Lower-case hex SHA-256 of the payload: the identity of the statement. */
  readonly payloadDigest: string;
}

/**
 * Makes a statement; its subjects follow from the predicate.
 *
 * @param name the kind, for example `hold/v1`
 * @throws RefusalError `shape-mismatch`
 */
export function makeStatement<Name extends PredicateName>(
  name: Name,
  predicate: PredicateOf<Name>,
): Statement<JsonValue> {
  const checked = readShape<unknown>(predicateSchemas[name], predicate, name);
  return {
    subject: subjectsOf({ name, predicate: checked } as NamedPredicate),
    predicateType: `${PREDICATE_TYPE_PREFIX}${name}`,
    predicate: checked as JsonValue,
  };
}

/** Signs a statement: one envelope for each signer, in their order. */
export async function signByEach(
  statement: Statement<JsonValue>,
  signers: readonly Ed25519Signer[],
): Promise<readonly Envelope[]> {
  return await Promise.all(signers.map(async (signer) => await signStatement(statement, [signer])));
}

/**
 * Reads the payload of a statement of any known kind. Whoever calls knows whether it was signed.
 *
 * @throws RefusalError `governance-predicate-unknown`, `governance-subject-mismatch`, `json-*`, `utf8-malformed`,
 * `shape-mismatch`
 */
export function readStatement(payload: Uint8Array): NamedPredicate {
  const limits = { maxBytes: MAX_STATEMENT_BYTES };
  const { predicateType } = readShape(
    kindSchema,
    decodeCanonicalJson(payload, limits, 'statement'),
    'statement',
  );
  const name = predicateNameOf(predicateType);
  const schema: z.ZodType = predicateSchemas[name];
  const statement = decodeStatement(payload, predicateType, schema, limits, 'statement');
  const named = { name, predicate: statement.predicate } as NamedPredicate;
  checkSubjects(statement, named);
  return named;
}

function predicateNameOf(predicateType: string): PredicateName {
  const known = Object.keys(predicateSchemas) as PredicateName[];
  const name = known.find((candidate) => predicateType === `${PREDICATE_TYPE_PREFIX}${candidate}`);
  if (name === undefined) {
    throw governanceFormRefusals.error('governance-predicate-unknown', {
      field: 'statement.predicateType',
      expected: `one of ${known.join(', ')} under ${PREDICATE_TYPE_PREFIX} (GV-5)`,
      found: excerpt(predicateType),
    });
  }
  return name;
}

function checkSubjects(statement: Statement<unknown>, named: NamedPredicate): void {
  const text = (subjects: Statement<unknown>['subject']): string =>
    subjects.map(({ name, digest }) => `${name} ${digest.sha256}`).join(', ');
  const expected = text(subjectsOf(named));
  const found = text(statement.subject);
  if (found !== expected) {
    throw governanceFormRefusals.error('governance-subject-mismatch', {
      field: 'statement.subject',
      expected: `${excerpt(expected)} (GV-6)`,
      found: excerpt(found),
    });
  }
}

/**
 * Verifies that a person of the trust root signed a statement. Whether that person may say it, and what it changes,
 * is for the rules.
 *
 * @param envelope from outside; exactly one signature, which names its key
 * @throws RefusalError `dsse-threshold`, `dsse-payload-type`, and those of `readStatement`
 */
export function verifyStatement(envelope: Envelope, trustRoot: TrustRoot): SignedStatement {
  if (envelope.payloadType !== STATEMENT_PAYLOAD_TYPE) {
    throw dsseRefusals.error('dsse-payload-type', {
      field: 'statement.payloadType',
      expected: STATEMENT_PAYLOAD_TYPE,
      found: excerpt(envelope.payloadType),
    });
  }
  return {
    person: personWhoSigned(envelope, trustRoot),
    named: readStatement(envelope.payload),
    payloadDigest: createHash('sha256').update(envelope.payload).digest('hex'),
  };
}

/**
 * Anybody may send an envelope, so it costs one verification at most: the key that it names is the only one tried.
 * The name alone proves nothing.
 */
function personWhoSigned(envelope: Envelope, trustRoot: TrustRoot): Person {
  const [signature, ...others] = envelope.signatures;
  if (signature?.keyid === undefined || others.length > 0) refuseSignatures(envelope);
  const { keyid } = signature;
  const keys = trustRoot.persons.flatMap((person) =>
    person.publicKeys.map((text) => ({ person, key: fromBase64(text, 'trustRoot.persons.publicKeys') })),
  );
  const named = keys.find(({ key }) => keyIdOf(key) === keyid);
  if (named === undefined) {
    throw dsseRefusals.error('dsse-threshold', {
      field: 'statement.signatures.keyid',
      expected: `one of the ${keys.length} keys of the trust root (GV-4)`,
      found: excerpt(keyid),
    });
  }
  verifyEnvelope(envelope, [named.key], 1, 'statement');
  return named.person;
}

function refuseSignatures({ signatures }: Envelope): never {
  const unnamed = signatures.some(({ keyid }) => keyid === undefined);
  throw dsseRefusals.error('dsse-threshold', {
    field: 'statement.signatures',
    expected: 'exactly one signature, which names its key (GV-4)',
    found: `${signatures.length} signatures${unnamed ? ', without a keyid' : ''}`,
  });
}

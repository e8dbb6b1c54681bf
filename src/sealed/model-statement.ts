/**
 * What a model signature of OpenSSF Model Signing says: the digests of a model's files (SW-60 to SW-62; predicate
 * `signature/v1.0` of sigstore/model-transparency). Building and reading are pure; nothing here is signed or trusted.
 */

import { sha256 } from '@noble/hashes/sha2.js';
import { z } from 'zod';

import { excerpt, fromHex, fromUtf8, toHex } from '../../attestation/core/bytes.ts';
import { encodeCanonicalJson } from '../../attestation/core/canonical-json.ts';
import { parseForeignJson } from '../../attestation/core/foreign-json.ts';
import { defineRefusals } from '../../attestation/core/refusal.ts';
import { sha256HexSchema } from '../platform/dsse-form.ts';
import { readShape } from '../platform/shape.ts';
import { comparePaths } from './paths.ts';

const STATEMENT_TYPE = 'https://in-toto.io/Statement/v1';
const PREDICATE_TYPE = 'https://model_signing/signature/v1.0';
/** The predicate nests deepest: statement, predicate, resources, resource. */
const MAX_DEPTH = 8;

/** What their tools pass over at the top of a model by default (SW-61). */
export const PASSED_OVER = ['.git', '.gitattributes', '.github', '.gitignore'];

export const modelStatementRefusals = defineRefusals('malformed', {
  'model-signature-malformed': {
    means: 'A model signature is not of the form that OpenSSF Model Signing 1.0 writes.',
    hint: 'Sign the model again with a current version of the tool.',
  },
  'model-signature-kind': {
    means: 'A model signature says what it says in a way that is not accepted here.',
    hint: 'Accepted are signatures by a key over whole files, with SHA-256: `model_signing sign key`.',
  },
});

/** One file of a model. */
export interface FileDigest {
  readonly path: string;
  /** Lower-case hex. */
  readonly sha256: string;
}

export interface ModelStatement {
  /** What the signer called the model; nothing is decided by it. */
  readonly name: string;
  readonly resources: readonly FileDigest[];
  readonly ignoredPaths: readonly string[];
}

const statementSchema = z.strictObject({
  _type: z.literal(STATEMENT_TYPE),
  subject: z.tuple([
    z.strictObject({ name: z.string(), digest: z.strictObject({ sha256: sha256HexSchema }) }),
  ]),
  predicateType: z.string(),
  predicate: z.strictObject({
    serialization: z.strictObject({
      method: z.string(),
      hash_type: z.string(),
      allow_symlinks: z.boolean(),
      ignore_paths: z.array(z.string()).optional(),
      shard_size: z.number().optional(),
    }),
    resources: z.array(
      z.strictObject({ name: z.string().min(1), algorithm: z.string(), digest: sha256HexSchema }),
    ),
  }),
});

type StatementDocument = z.infer<typeof statementSchema>;

/** Whether a path is, or lies below, one of those that are ignored. */
export function isIgnored(path: string, ignoredPaths: readonly string[]): boolean {
  return ignoredPaths.some((ignored) => path === ignored || path.startsWith(`${ignored}/`));
}

/** The canonical bytes of a statement over all files but those that are passed over. */
export function encodeModelStatement(name: string, files: readonly FileDigest[]): Uint8Array {
  const resources = files
    .filter(({ path }) => !isIgnored(path, PASSED_OVER))
    .toSorted((left, right) => compareSegments(left.path, right.path));
  return encodeCanonicalJson({
    _type: STATEMENT_TYPE,
    subject: [{ name, digest: { sha256: rootDigest(resources) } }],
    predicateType: PREDICATE_TYPE,
    predicate: {
      serialization: {
        method: 'files',
        hash_type: 'sha256',
        allow_symlinks: false,
        ignore_paths: PASSED_OVER,
      },
      resources: resources.map(({ path, sha256 }) => ({ name: path, algorithm: 'sha256', digest: sha256 })),
    },
  });
}

/** Their order: by segments, so that what lies in a folder comes before what only begins like its name. */
function compareSegments(left: string, right: string): number {
  const [ours, theirs] = [left.split('/'), right.split('/')];
  for (const [i, segment] of ours.entries()) {
    const other = theirs[i];
    const order = other === undefined ? 1 : comparePaths(segment, other);
    if (order !== 0) return order;
  }
  return ours.length - theirs.length;
}

/** SW-62. */
function rootDigest(resources: readonly FileDigest[]): string {
  const hash = sha256.create();
  for (const { path, sha256: digest } of resources) hash.update(fromHex(digest, path));
  return toHex(hash.digest());
}

/**
 * Reads what a statement claims.
 *
 * @param payload whose size the caller has bounded
 * @throws RefusalError `model-signature-*`, `shape-mismatch`, `utf8-malformed`
 */
export function decodeModelStatement(payload: Uint8Array, field: string): ModelStatement {
  const parsed = parseForeignJson(fromUtf8(payload, field), MAX_DEPTH);
  if (parsed.problem !== undefined) refuse('malformed', field, 'JSON with each member once', parsed.problem);
  const document = readShape(statementSchema, parsed.value, field);
  checkKind(document, field);
  const { subject, predicate } = document;
  const resources = predicate.resources.map(({ name, digest }) => ({ path: name, sha256: digest }));
  const [{ name, digest }] = subject;
  const found = rootDigest(resources);
  if (found !== digest.sha256) refuse('malformed', `${field}.subject`, `the digest ${found}`, digest.sha256);
  const ignoredPaths = predicate.serialization.ignore_paths ?? [];
  for (const path of ignoredPaths) {
    if (!leadsInside(path)) refuse('kind', `${field}.ignore_paths`, 'paths inside the model', path);
  }
  return { name, resources, ignoredPaths };
}

/** Their tools take `.` for the whole model. */
function leadsInside(path: string): boolean {
  return path.split('/').every((segment) => segment !== '' && segment !== '.' && segment !== '..');
}

function checkKind({ predicateType, predicate }: StatementDocument, field: string): void {
  const { method, hash_type: hashType } = predicate.serialization;
  const wanted: readonly (readonly [member: string, expected: string, found: string])[] = [
    ['predicateType', PREDICATE_TYPE, predicateType],
    ['serialization.method', 'files', method],
    ['serialization.hash_type', 'sha256', hashType],
    ...predicate.resources.map(
      ({ algorithm }, i) => [`resources[${i}].algorithm`, 'sha256', algorithm] as const,
    ),
  ];
  for (const [member, expected, found] of wanted) {
    if (found !== expected) refuse('kind', `${field}.${member}`, expected, found);
  }
}

function refuse(code: 'malformed' | 'kind', field: string, expected: string, found: string): never {
  throw modelStatementRefusals.error(`model-signature-${code}`, { field, expected, found: excerpt(found) });
}

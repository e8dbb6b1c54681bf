/** Judges of envelopes, statements, model manifests, canonical JSON and attestation results (dsse/, jcs/, ear/). */

import { sha256 } from '@noble/hashes/sha2.js';

import { concatBytes, fromHex, toBase64, toHex, toUtf8 } from '../../attestation/core/bytes.ts';
import { encodeCanonicalJson, type JsonValue } from '../../attestation/core/canonical-json.ts';
import { isRefusal } from '../../attestation/core/refusal.ts';
import { fromBase64Url } from '../../attestation/nvidia-gpu/nras/format.ts';
import { verifyEd25519Portably } from '../../src/log/signature.ts';
import { preAuthenticationEncoding } from '../../src/platform/dsse-form.ts';
import { compareFiles } from '../../src/sealed/model-files.ts';
import { decodeModelStatement } from '../../src/sealed/model-statement.ts';
import { verifySignature } from '../../attestation/core/signature.ts';
import {
  fromEitherBase64,
  keyText,
  readForeignJson,
  verifyForeign,
  type ForeignKey,
} from './foreign-signature.ts';
import { agree, bytes, demand, text, type JudgeRow, type VectorCase } from './vector-tlog-case.ts';

function judgePae(vector: VectorCase): void {
  const encoded = preAuthenticationEncoding(text(vector, 'payload_type'), bytes(vector, 'payload'));
  agree(toBase64(encoded), vector['pae'], 'pae');
}

interface ForeignEnvelope {
  readonly payload: string;
  readonly payloadType: string;
  readonly signatures: readonly { readonly sig: string }[];
}

/** Distinct public keys count, whatever the key identifiers say. */
async function judgeEnvelope(vector: VectorCase): Promise<void> {
  const { payload, payloadType, signatures } = vector['envelope'] as ForeignEnvelope;
  const message = preAuthenticationEncoding(payloadType, fromEitherBase64(payload));
  const candidates = [...(vector['keys'] as readonly ForeignKey[])];
  const verified = new Map<string, string>();
  for (const { sig } of signatures) {
    for (const key of candidates) {
      if (verified.has(keyText(key)) || !(await verifyForeign(key, message, fromEitherBase64(sig)))) continue;
      verified.set(keyText(key), key.name);
      break;
    }
  }
  const threshold = Number(vector['threshold']);
  demand(threshold >= 1 && verified.size >= threshold, `${verified.size} of ${threshold}`);
  agree([...verified.values()], vector['verified'], 'keys');
}

/** in-toto Statement v1 as others write it: members that are not known say nothing. */
function judgeStatement(vector: VectorCase): void {
  const statement = recordOf(readForeignJson(toUtf8(text(vector, 'statement'))), 'statement');
  demand(statement['_type'] === 'https://in-toto.io/Statement/v1', '_type');
  demand(
    typeof statement['predicateType'] === 'string' && statement['predicateType'] !== '',
    'predicateType',
  );
  const subjects = statement['subject'];
  demand(Array.isArray(subjects) && subjects.length > 0, 'subject');
  for (const subject of subjects as readonly unknown[]) {
    const digests = Object.entries(recordOf(recordOf(subject, 'subject')['digest'], 'digest'));
    demand(digests.length > 0, 'a digest');
    for (const [algorithm, digest] of digests) {
      const form = algorithm === 'sha256' ? /^[0-9a-f]{64}$/ : /^.+$/;
      demand(typeof digest === 'string' && form.test(digest), algorithm);
    }
  }
}

function recordOf(value: unknown, what: string): Readonly<Record<string, unknown>> {
  demand(typeof value === 'object' && value !== null && !Array.isArray(value), `${what} is no object`);
  return value as Readonly<Record<string, unknown>>;
}

function judgeModel(vector: VectorCase): void {
  const statement = decodeModelStatement(toUtf8(JSON.stringify(vector['statement'])), 'statement');
  const contents = Object.entries(vector['files'] as Readonly<Record<string, string>>);
  const files = contents.map(([path, content]) => ({
    path,
    sha256: toHex(sha256(fromEitherBase64(content))),
  }));
  compareFiles(statement, files);
}

/** RFC 8785 with every number, of which the product writes integers alone; where it writes, it must write the same. */
function canonicalText(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonicalText).join(',')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  const members = Object.entries(value).sort(([left], [right]) => (left < right ? -1 : 1));
  return `{${members.map(([name, member]) => `${JSON.stringify(name)}:${canonicalText(member)}`).join(',')}}`;
}

function canonicalBytes(value: unknown): Uint8Array {
  const written = toUtf8(canonicalText(value));
  try {
    agree(
      toHex(encodeCanonicalJson(value as JsonValue)),
      toHex(written),
      'the canonical JSON of the product',
    );
  } catch (error) {
    if (!isRefusal(error)) throw error;
  }
  return written;
}

function judgeCanonical(vector: VectorCase): void {
  const found = canonicalBytes(readForeignJson(toUtf8(text(vector, 'input'))));
  agree(toHex(found), toHex(toUtf8(text(vector, 'canonical'))), 'canonical form');
  agree(toHex(sha256(found)), vector['sha256'], 'digest');
}

/** W3C Data Integrity, `eddsa-jcs-2022`. */
async function judgeIntegrity(vector: VectorCase): Promise<void> {
  const { proof, ...document } = recordOf(vector['signed'], 'signed');
  const { proofValue: _value, ...options } = recordOf(proof, 'proof');
  const message = concatBytes(sha256(canonicalBytes(options)), sha256(canonicalBytes(document)));
  agree(toHex(message), vector['message_hex'], 'message');
  const key = fromHex(text(vector, 'public_key'), 'key');
  const holds = await verifyEd25519Portably(key, message, fromHex(text(vector, 'signature'), 'signature'));
  demand(holds, 'the signature');
}

/** An EAR of Veraison as a JWT with ES256; the results of the product have another profile and EdDSA. */
async function judgeResult(vector: VectorCase): Promise<void> {
  const parts = text(vector, 'token').split('.');
  demand(parts.length === 3, 'three parts');
  const [header = '', payload = '', signature = ''] = parts;
  const read = (part: string) => recordOf(readForeignJson(fromBase64Url(part, 'token')), 'token');
  agree(read(header)['alg'], 'ES256', 'alg');
  const { x, y } = vector['public_jwk'] as { readonly x: string; readonly y: string };
  const key = { type: 'ec', curve: 'P-256', x: fromBase64Url(x, 'x'), y: fromBase64Url(y, 'y') } as const;
  const scheme = { algorithm: 'ecdsa', hash: 'SHA-256' } as const;
  const message = toUtf8(`${header}.${payload}`);
  demand(await verifySignature(key, scheme, fromBase64Url(signature, 'signature'), message), 'the signature');
  const claims = read(payload);
  agree(claims['eat_profile'], 'tag:github.com,2023:veraison/ear', 'eat_profile');
  demand(Number.isSafeInteger(claims['iat']), 'iat');
  recordOf(claims['ear.verifier-id'], 'ear.verifier-id');
  demand(Object.keys(recordOf(claims['submods'], 'submods')).length > 0, 'submods');
}

export const STATEMENT_JUDGES: readonly JudgeRow[] = [
  { members: ['pae'], judge: judgePae },
  { members: ['envelope', 'keys', 'threshold'], judge: judgeEnvelope },
  { members: ['files', 'root', 'statement'], judge: judgeModel },
  { members: ['statement'], judge: judgeStatement },
  { members: ['input', 'canonical'], judge: judgeCanonical },
  { members: ['signed', 'signature', 'public_key'], judge: judgeIntegrity },
  { members: ['token', 'public_jwk'], judge: judgeResult },
];

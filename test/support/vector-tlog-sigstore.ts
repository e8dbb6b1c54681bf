/**
 * The judge of Sigstore bundles (sigstore/): what a verifier of logs decides about them, which is all but certificate chains,
 * identities and times. The product takes bundles with a key alone (src/sealed/model-signature.ts), so what reads entries of
 * Rekor stands here.
 */

import { sha256 } from '@noble/hashes/sha2.js';
import { z } from 'zod';

import { equalBytes, fromBase64, toBase64, toHex, toUtf8 } from '../../attestation/core/bytes.ts';
import { readPem } from '../../attestation/core/pem.ts';
import { readSubjectPublicKeyInfo, type PublicKey } from '../../attestation/core/public-key.ts';
import { readCertificate } from '../../attestation/core/x509.ts';
import { parseCheckpointBody } from '../../src/log/checkpoint-body.ts';
import { leafHash, verifyInclusion } from '../../src/log/merkle.ts';
import { openNote } from '../../src/log/note.ts';
import { parseUint64 } from '../../src/log/uint64.ts';
import type { VerifierKey } from '../../src/log/verifier-key.ts';
import { encodeCanonicalJson } from '../../attestation/core/canonical-json.ts';
import { preAuthenticationEncoding } from '../../src/platform/dsse-form.ts';
import { pemKey, readForeignJson, verifyDer } from './foreign-signature.ts';
import { agree, demand, text, type JudgeRow, type ReadFile, type VectorCase } from './vector-tlog-case.ts';

interface LogEntry {
  readonly logIndex: string;
  readonly logId: { readonly keyId: string };
  readonly kindVersion: { readonly kind: string; readonly version: string };
  readonly integratedTime?: string;
  readonly inclusionPromise?: { readonly signedEntryTimestamp: string };
  readonly inclusionProof?: {
    readonly logIndex: string;
    readonly rootHash: string;
    readonly treeSize: string;
    readonly hashes: readonly string[];
    readonly checkpoint?: { readonly envelope: string };
  };
  readonly canonicalizedBody: string;
}

interface Bundle {
  readonly verificationMaterial: {
    readonly certificate?: { readonly rawBytes: string };
    readonly x509CertificateChain?: { readonly certificates: readonly { readonly rawBytes: string }[] };
    readonly tlogEntries?: readonly LogEntry[];
  };
  readonly messageSignature?: {
    readonly messageDigest: { readonly algorithm: string; readonly digest: string };
    readonly signature: string;
  };
  readonly dsseEnvelope?: {
    readonly payload: string;
    readonly payloadType: string;
    readonly signatures: readonly { readonly sig: string }[];
  };
}

interface TrustedLog {
  readonly baseUrl: string;
  readonly publicKey: { readonly rawBytes: string };
  readonly logId: { readonly keyId: string };
}

/** Who signed, as an entry of the log names it: a certificate or a key, in DER. */
interface Signer {
  readonly encoded: Uint8Array;
  readonly label: 'CERTIFICATE' | 'PUBLIC KEY';
  readonly key: PublicKey;
}

/** What was signed: the digest that entries name, the signature, and for envelopes the payload. */
interface Content {
  readonly digest: Uint8Array;
  readonly signature: string;
  readonly payloadDigest: string | undefined;
}

const ED25519_INFO_BYTES = 44;

async function judgeBundle(vector: VectorCase, file: ReadFile): Promise<void> {
  const bundle = readForeignJson(file(text(vector, 'bundle'))) as Bundle;
  const { tlogs } = readForeignJson(file(text(vector, 'trusted_root'))) as { tlogs: readonly TrustedLog[] };
  const signer = signerOf(bundle, vector['public_key']);
  const content = await verifyContent(bundle, signer, file(text(vector, 'artifact')));
  const entries = bundle.verificationMaterial.tlogEntries ?? [];
  demand(entries.length > 0, 'an entry of a log');
  for (const entry of entries) {
    const log = tlogs.find(({ logId }) => logId.keyId === entry.logId.keyId);
    demand(log !== undefined, 'a known log');
    await verifyEntry(entry, log);
    matchEntry(entry, content, signer);
  }
}

function signerOf({ verificationMaterial }: Bundle, publicKey: unknown): Signer {
  if (typeof publicKey === 'string') {
    const encoded = readPem(toUtf8(publicKey), 'PUBLIC KEY', 'key');
    return { encoded, label: 'PUBLIC KEY', key: pemKey(publicKey) };
  }
  const { certificate, x509CertificateChain: chain } = verificationMaterial;
  const encoded = fromBase64((certificate ?? chain?.certificates[0])?.rawBytes ?? '', 'certificate');
  const { subjectPublicKeyInfo } = readCertificate(encoded, 'certificate');
  const key = readSubjectPublicKeyInfo(subjectPublicKeyInfo, 'certificate');
  return { encoded, label: 'CERTIFICATE', key };
}

async function verifyContent(bundle: Bundle, { key }: Signer, artifact: Uint8Array): Promise<Content> {
  const { messageSignature: message, dsseEnvelope: envelope } = bundle;
  if (message !== undefined) {
    agree(message.messageDigest.digest, toBase64(sha256(artifact)), 'messageDigest');
    const signature = fromBase64(message.signature, 'signature');
    demand(await verifyDer(key, artifact, signature), 'the signature of the artifact');
    return { digest: sha256(artifact), signature: message.signature, payloadDigest: undefined };
  }
  const [one, ...more] = envelope?.signatures ?? [];
  demand(envelope !== undefined && one !== undefined && more.length === 0, 'one signature');
  const payload = fromBase64(envelope.payload, 'payload');
  const encoded = preAuthenticationEncoding(envelope.payloadType, payload);
  demand(await verifyDer(key, encoded, fromBase64(one.sig, 'sig')), 'the signature of the envelope');
  const { subject } = readForeignJson(payload) as { subject: readonly { digest: { sha256?: string } }[] };
  const digest = toHex(sha256(artifact));
  demand(
    subject.some((each) => each.digest.sha256 === digest),
    'the artifact is a subject',
  );
  return { digest: sha256(encoded), signature: one.sig, payloadDigest: toHex(sha256(payload)) };
}

async function verifyEntry(entry: LogEntry, log: TrustedLog): Promise<void> {
  parseUint64(entry.logIndex, 'logIndex');
  const { inclusionProof: proof, canonicalizedBody } = entry;
  const checkpoint = proof?.checkpoint;
  demand(proof !== undefined && checkpoint !== undefined, 'an inclusion proof with its checkpoint');
  const size = parseUint64(proof.treeSize, 'treeSize');
  const root = fromBase64(proof.rootHash, 'rootHash');
  const key = keyOf(log);
  const opened = await openNote(checkpoint.envelope, [key]);
  const body = parseCheckpointBody(opened.text);
  demand(body.origin.split(' - ')[0] === key.name, 'the origin of the checkpoint');
  demand(body.size === size && equalBytes(body.root, root), 'the checkpoint of the proof');
  verifyInclusion({
    leafHash: leafHash(fromBase64(canonicalizedBody, 'body')),
    index: parseUint64(proof.logIndex, 'proof.logIndex'),
    size,
    proof: proof.hashes.map((hash) => fromBase64(hash, 'hash')),
    root,
  });
  if (entry.inclusionPromise !== undefined) await verifyPromise(entry, entry.inclusionPromise, log);
}

/** Rekor names its keys by the first bytes of the identifier of the log, the second version as signed notes do. */
function keyOf({ baseUrl, publicKey, logId }: TrustedLog): VerifierKey {
  const info = fromBase64(publicKey.rawBytes, 'log.key');
  const identifier = fromBase64(logId.keyId, 'log.id').subarray(0, 4);
  const isEd25519 = info.length === ED25519_INFO_BYTES;
  return {
    name: new URL(baseUrl).host,
    identifier,
    algorithm: isEd25519 ? 'ed25519' : 'ecdsa-p256',
    publicKey: isEd25519 ? info.subarray(-32) : info,
  };
}

/** The signed entry timestamp of the first version: over canonical JSON. */
async function verifyPromise(
  { canonicalizedBody, integratedTime, logIndex, logId }: LogEntry,
  { signedEntryTimestamp }: { readonly signedEntryTimestamp: string },
  log: TrustedLog,
): Promise<void> {
  const message = encodeCanonicalJson({
    body: canonicalizedBody,
    integratedTime: Number(integratedTime),
    logID: toHex(fromBase64(logId.keyId, 'logId')),
    logIndex: Number(logIndex),
  });
  const key = readSubjectPublicKeyInfo(fromBase64(log.publicKey.rawBytes, 'log.key'), 'log.key');
  const holds = await verifyDer(key, message, fromBase64(signedEntryTimestamp, 'promise'));
  demand(holds, 'the signed entry timestamp');
}

/** The logged body names this content, this signature and this signer. */
function matchEntry({ canonicalizedBody, kindVersion }: LogEntry, content: Content, signer: Signer): void {
  const body = readForeignJson(fromBase64(canonicalizedBody, 'body')) as {
    readonly apiVersion: string;
    readonly kind: string;
    readonly spec: unknown;
  };
  agree(`${body.kind}/${body.apiVersion}`, `${kindVersion.kind}/${kindVersion.version}`, 'kind');
  const read = BODIES[`${body.kind}/${body.apiVersion}`];
  demand(read !== undefined, 'a known kind of entry');
  const logged = read(body.spec);
  agree(
    logged.digest,
    content.payloadDigest !== undefined && body.kind === 'dsse'
      ? content.payloadDigest
      : toHex(content.digest),
    'digest',
  );
  agree(logged.signature, content.signature, 'signature');
  demand(equalBytes(signerBytes(logged.signer, signer.label), signer.encoded), 'the signer');
}

interface LoggedBody {
  /** In hex. */
  readonly digest: string;
  readonly signature: string;
  /** DER, or PEM, in base64. */
  readonly signer: string;
}

function signerBytes(encoded: string, label: string): Uint8Array {
  const bytes = fromBase64(encoded, 'signer');
  return bytes[0] === 0x30 ? bytes : readPem(bytes, label, 'signer');
}

const hashSchema = z.looseObject({ value: z.string() });
const contentSchema = z.looseObject({ content: z.string() });
const derSchema = z.looseObject({ rawBytes: z.string() });

const recordSchema = z.looseObject({
  data: z.looseObject({ hash: hashSchema }),
  signature: contentSchema.extend({ publicKey: contentSchema }),
});
const secondRecordSchema = z.looseObject({
  hashedRekordV002: z.looseObject({
    data: z.looseObject({ digest: z.string() }),
    signature: contentSchema.extend({
      verifier: z.looseObject({}),
    }),
  }),
});
const envelopeSchema = z.looseObject({
  payloadHash: hashSchema,
  signatures: z.tuple([z.looseObject({ signature: z.string(), verifier: z.string() })]),
});

const BODIES: Readonly<Record<string, (spec: unknown) => LoggedBody>> = {
  'hashedrekord/0.0.1': (spec) => {
    const { data, signature } = recordSchema.parse(spec);
    return { digest: data.hash.value, signature: signature.content, signer: signature.publicKey.content };
  },
  'hashedrekord/0.0.2': (spec) => {
    const { data, signature } = secondRecordSchema.parse(spec).hashedRekordV002;
    const { verifier } = signature;
    const { rawBytes } = derSchema.parse(verifier['x509Certificate'] ?? verifier['publicKey']);
    const digest = toHex(fromBase64(data.digest, 'digest'));
    return { digest, signature: signature.content, signer: rawBytes };
  },
  'dsse/0.0.1': (spec) => {
    const { payloadHash, signatures } = envelopeSchema.parse(spec);
    const [{ signature, verifier }] = signatures;
    return { digest: payloadHash.value, signature, signer: verifier };
  },
};

export const SIGSTORE_JUDGES: readonly JudgeRow[] = [
  { members: ['bundle', 'trusted_root', 'artifact'], judge: judgeBundle },
];

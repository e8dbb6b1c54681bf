/**
 * A second implementation of docs/spec/sealed-weights.md, written from the document alone: plain node:crypto, whole
 * files in memory, nothing of src/. It says what the format is when the first implementation is wrong.
 */

import {
  createCipheriv,
  createDecipheriv,
  createHash,
  hkdfSync,
  sign,
  verify,
  type KeyObject,
} from 'node:crypto';

const CHUNK = 4_194_304;

export type Files = ReadonlyMap<string, Uint8Array>;
type Json = null | boolean | string | number | readonly Json[] | { readonly [name: string]: Json };

function sha256(...parts: readonly Uint8Array[]): Buffer {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part);
  return hash.digest();
}

export function canonical(value: Json): string {
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  if (Array.isArray(value)) return `[${value.map(canonical).join(',')}]`;
  const members = Object.entries(value as Readonly<Record<string, Json>>).sort(([a], [b]) =>
    a < b ? -1 : 1,
  );
  return `{${members.map(([name, member]) => `${JSON.stringify(name)}:${canonical(member)}`).join(',')}}`;
}

function label(text: string): Buffer {
  return Buffer.concat([Buffer.from(text)], 32);
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

function u64(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(BigInt(value));
  return bytes;
}

function commitment(key: Uint8Array, salt: Uint8Array): Buffer {
  const info = Buffer.concat([label('weightgate/sealed/commitment/v1'), u32(1)]);
  return Buffer.from(hkdfSync('sha256', key, salt, info, 32));
}

function fileKey(key: Uint8Array, salt: Uint8Array, path: string, bytes: number): Buffer {
  const info = Buffer.concat([
    label('weightgate/sealed/file/v1'),
    u32(1),
    u32(CHUNK),
    u64(bytes),
    sha256(Buffer.from(path)),
  ]);
  return Buffer.from(hkdfSync('sha256', key, salt, info, 32));
}

function chunkCount(bytes: number): number {
  return bytes === 0 ? 1 : Math.ceil(bytes / CHUNK);
}

function nonce(index: number, count: number): Buffer {
  return Buffer.concat([Buffer.alloc(3), u64(index), Buffer.from([index === count - 1 ? 1 : 0])]);
}

function pae(payload: Uint8Array): Buffer {
  const type = 'application/vnd.in-toto+json';
  return Buffer.concat([Buffer.from(`DSSEv1 ${type.length} ${type} ${payload.length} `), payload]);
}

function rawPublicKey(key: KeyObject): Buffer {
  return Buffer.from(key.export({ format: 'jwk' }).x ?? '', 'base64url');
}

/** Wraps a payload the way a manifest is wrapped. For tests of hostile manifests too. */
export function signPayload(payload: Uint8Array, privateKey: KeyObject, publicKey: KeyObject): Buffer {
  const envelope = {
    payload: Buffer.from(payload).toString('base64'),
    payloadType: 'application/vnd.in-toto+json',
    signatures: [
      {
        keyid: sha256(rawPublicKey(publicKey)).toString('hex'),
        sig: sign(null, pae(payload), privateKey).toString('base64'),
      },
    ],
  };
  return Buffer.from(canonical(envelope));
}

export interface SealInput {
  readonly files: Files;
  readonly modelKey: Uint8Array;
  readonly salt: Uint8Array;
  readonly model: { readonly name: string; readonly version: string; readonly variant: string };
  readonly privateKey: KeyObject;
  readonly publicKey: KeyObject;
}

/** What a test changes in a statement before it is signed. */
export type Tamper = (statement: {
  _type: string;
  predicateType: string;
  subject: { name: string; digest: { sha256: string } }[];
  predicate: {
    aead: string;
    chunkBytes: number;
    files: { bytes: string; chunks: number; path: string }[];
    formatVersion: number;
    keyCommitment: string;
    model: { name: string; version: string; variant: string };
    salt: string;
    tags: { path: string; sha256: string };
  };
}) => void;

/** Seals files. @param tamper changes the statement before it is signed; @param tamperTags the file of tags */
export function sealBySpecification(
  input: SealInput,
  tamper: Tamper = () => undefined,
  tamperTags: (tags: Buffer) => Buffer = (tags) => tags,
): Map<string, Uint8Array> {
  const { modelKey, salt } = input;
  const paths = [...input.files.keys()].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
  const bundle = new Map<string, Uint8Array>();
  const tags: Buffer[] = [];
  for (const path of paths) {
    const plaintext = input.files.get(path) ?? new Uint8Array();
    const key = fileKey(modelKey, salt, path, plaintext.length);
    const count = chunkCount(plaintext.length);
    const pieces: Buffer[] = [];
    for (let index = 0; index < count; index += 1) {
      const cipher = createCipheriv('aes-256-gcm', key, nonce(index, count));
      pieces.push(cipher.update(plaintext.subarray(index * CHUNK, (index + 1) * CHUNK)), cipher.final());
      tags.push(cipher.getAuthTag());
    }
    bundle.set(path, Buffer.concat(pieces));
  }
  const committed = commitment(modelKey, salt);
  const header = Buffer.concat([
    Buffer.from('weightgate/tags\0'),
    u32(1),
    u32(1),
    u32(CHUNK),
    u32(paths.length),
    u64(tags.length),
    salt,
    committed,
    Buffer.alloc(24),
  ]);
  const tagsFile = tamperTags(Buffer.concat([header, ...tags]));
  bundle.set('weightgate.tags', tagsFile);
  const statement = {
    _type: 'https://in-toto.io/Statement/v1',
    predicateType: 'https://weightgate.dev/predicate/sealed-bundle/v1',
    subject: paths.map((name) => ({
      name,
      digest: { sha256: sha256(bundle.get(name) ?? new Uint8Array()).toString('hex') },
    })),
    predicate: {
      aead: 'aes-256-gcm',
      chunkBytes: CHUNK,
      files: paths.map((path) => {
        const bytes = input.files.get(path)?.length ?? 0;
        return { bytes: String(bytes), chunks: chunkCount(bytes), path };
      }),
      formatVersion: 1,
      keyCommitment: committed.toString('base64'),
      model: { ...input.model },
      salt: Buffer.from(salt).toString('base64'),
      tags: { path: 'weightgate.tags', sha256: sha256(tagsFile).toString('hex') },
    },
  };
  tamper(statement);
  const payload = Buffer.from(canonical(statement));
  bundle.set('weightgate.manifest.json', signPayload(payload, input.privateKey, input.publicKey));
  return bundle;
}

function check(condition: boolean, what: string): void {
  if (!condition) throw new Error(`not as the specification says: ${what}`);
}

/** Opens a bundle, or throws. */
export function openBySpecification(
  bundle: Files,
  modelKey: Uint8Array,
  publicKey: KeyObject,
): Map<string, Buffer> {
  const envelope = JSON.parse(Buffer.from(bundle.get('weightgate.manifest.json') ?? []).toString()) as {
    payload: string;
    signatures: { sig: string }[];
  };
  const payload = Buffer.from(envelope.payload, 'base64');
  const signature = Buffer.from(envelope.signatures[0]?.sig ?? '', 'base64');
  check(verify(null, pae(payload), publicKey, signature), 'signature');
  const { subject, predicate } = JSON.parse(payload.toString()) as Parameters<Tamper>[0];
  const salt = Buffer.from(predicate.salt, 'base64');
  check(commitment(modelKey, salt).toString('base64') === predicate.keyCommitment, 'key commitment');
  const tags = Buffer.from(bundle.get('weightgate.tags') ?? []);
  check(sha256(tags).toString('hex') === predicate.tags.sha256, 'digest of the tags');
  const opened = new Map<string, Buffer>();
  let tagAt = 128;
  for (const [i, { path, bytes, chunks }] of predicate.files.entries()) {
    const ciphertext = Buffer.from(bundle.get(path) ?? []);
    check(ciphertext.length === Number(bytes), 'size');
    check(sha256(ciphertext).toString('hex') === subject[i]?.digest.sha256, 'digest of a file');
    const key = fileKey(modelKey, salt, path, ciphertext.length);
    const pieces: Buffer[] = [];
    for (let index = 0; index < chunks; index += 1) {
      const decipher = createDecipheriv('aes-256-gcm', key, nonce(index, chunks));
      decipher.setAuthTag(tags.subarray(tagAt, tagAt + 16));
      pieces.push(decipher.update(ciphertext.subarray(index * CHUNK, (index + 1) * CHUNK)), decipher.final());
      tagAt += 16;
    }
    opened.set(path, Buffer.concat(pieces));
  }
  check(tagAt === tags.length, 'number of tags');
  return opened;
}

import { createHash, generateKeyPairSync, sign, type KeyObject } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';

import { fromHex, toUtf8 } from '../../attestation/core/bytes.ts';
import { preAuthenticationEncoding } from '../../src/platform/dsse-form.ts';
import { ecdsaPublicKey, type EcdsaSigner } from '../../src/platform/ecdsa.ts';
import { checkModelSignature, exportModelSignature } from '../../src/sealed/model-signing.ts';
import { verifyModelSignature } from '../../src/sealed/model-signature.ts';
import { SealedBundle } from '../../src/sealed/reader.ts';
import { sealFolder } from '../../src/sealed/writer.ts';
import { refusalCodeAsync } from '../support/refusal-code.ts';
import {
  deterministicBytes,
  MODEL,
  modelKeyMemory,
  signer,
  temporaryFolder,
  TRUST,
  writeFolder,
} from './fixtures.ts';

const PAYLOAD_TYPE = 'application/vnd.in-toto+json';

interface TestSigner extends EcdsaSigner {
  readonly privateKey: KeyObject;
}

function newSigner(curve: string, hash: string): TestSigner {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: curve });
  const spki = new Uint8Array(publicKey.export({ format: 'der', type: 'spki' }));
  return {
    privateKey,
    publicKey: ecdsaPublicKey(spki, 'key'),
    sign: (message) => Promise.resolve(new Uint8Array(sign(hash, message, privateKey))),
  };
}

const key = newSigner('prime256v1', 'sha256');

async function seal(): Promise<string> {
  const folder = join(temporaryFolder(), 'bundle');
  const files = new Map<string, Uint8Array>([
    ['.gitattributes', Buffer.from('*.bin')],
    ['a/b.bin', deterministicBytes(100, 'b')],
    ['a.bin', deterministicBytes(5 * 1024 * 1024, 'a')],
    ['empty', Buffer.alloc(0)],
  ]);
  const modelKey = modelKeyMemory();
  await sealFolder(writeFolder(files), folder, { model: MODEL, modelKey, signers: [signer] });
  modelKey.close();
  return folder;
}

let folder: string;
let bundle: SealedBundle;
let exported: Uint8Array;
beforeAll(async () => {
  folder = await seal();
  bundle = await SealedBundle.open(folder, TRUST);
  exported = await exportModelSignature(bundle, key);
});

interface SignatureDocument {
  mediaType: string;
  verificationMaterial: Record<string, unknown>;
  dsseEnvelope: { payload: string; payloadType: string; signatures: { sig: string; keyid?: string }[] };
}

interface StatementDocument {
  subject: { name: string; digest: Record<string, string> }[];
  predicateType: string;
  predicate: {
    serialization: Record<string, unknown>;
    resources: { name: string; algorithm: string; digest: string }[];
  };
}

function parse(content: Uint8Array): SignatureDocument {
  return JSON.parse(Buffer.from(content).toString()) as SignatureDocument;
}

function statementOf(content: Uint8Array): StatementDocument {
  const { payload } = parse(content).dsseEnvelope;
  return JSON.parse(Buffer.from(payload, 'base64').toString()) as StatementDocument;
}

const code = (content: Uint8Array, publicKey = key.publicKey, of = bundle): Promise<string> =>
  refusalCodeAsync(() => checkModelSignature(of, content, publicKey));

/** Signs another text than the export, by the same key. */
async function signed(payload: string, payloadType = PAYLOAD_TYPE): Promise<Uint8Array> {
  const document = parse(exported);
  const message = preAuthenticationEncoding(payloadType, toUtf8(payload));
  const sig = Buffer.from(await key.sign(message)).toString('base64');
  document.dsseEnvelope = {
    payload: Buffer.from(payload).toString('base64'),
    payloadType,
    signatures: [{ keyid: '', sig }],
  };
  return toUtf8(JSON.stringify(document));
}

/** Signs the statement after a change, its subject made to agree again. */
async function changed(change: (statement: StatementDocument) => void, agrees = true): Promise<Uint8Array> {
  const statement = statementOf(exported);
  change(statement);
  if (agrees) {
    const hash = createHash('sha256');
    for (const { digest } of statement.predicate.resources) hash.update(fromHex(digest, 'digest'));
    statement.subject[0]!.digest['sha256'] = hash.digest('hex');
  }
  return await signed(JSON.stringify(statement));
}

describe('a model signature', () => {
  it('SW-61, SW-62: is over all files as they lie in the bundle, ordered by segments', () => {
    const sha256 = (path: string): string =>
      createHash('sha256')
        .update(readFileSync(join(folder, path)))
        .digest('hex');
    const paths = ['a/b.bin', 'a.bin', 'empty', 'weightgate.manifest.json', 'weightgate.tags'];
    const { subject, predicate } = statementOf(exported);
    expect(predicate.resources).toEqual(
      paths.map((name) => ({ name, algorithm: 'sha256', digest: sha256(name) })),
    );
    const root = createHash('sha256');
    for (const path of paths) root.update(sha256(path), 'hex');
    expect(subject).toEqual([{ name: 'example-1-base', digest: { sha256: root.digest('hex') } }]);
    expect(predicate.serialization).toEqual({
      method: 'files',
      hash_type: 'sha256',
      allow_symlinks: false,
      ignore_paths: ['.git', '.gitattributes', '.github', '.gitignore'],
    });
  });

  it.each([
    ['prime256v1', 'sha256'],
    ['secp384r1', 'sha384'],
    ['secp521r1', 'sha512'],
  ])('SW-63: is made and verified with a key on %s', async (curve, hash) => {
    const other = newSigner(curve, hash);
    const content = await exportModelSignature(bundle, other);
    expect(await code(content, other.publicKey)).toBe('accepted');
    expect(await code(content)).toBe('model-signature-key');
    const relabelled = Buffer.from(content).toString().replace(other.publicKey.hint, key.publicKey.hint);
    expect(['signature-length', 'model-signature-invalid']).toContain(await code(toUtf8(relabelled)));
  });

  it('SW-65: of another sealing is refused', async () => {
    const other = await SealedBundle.open(await seal(), TRUST);
    expect(await code(exported, key.publicKey, other)).toBe('model-signature-files');
  });

  it('SW-65: does not hide a changed byte of ciphertext', async () => {
    const damaged = await seal();
    const sound = await SealedBundle.open(damaged, TRUST);
    const content = await exportModelSignature(sound, key);
    const bytes = readFileSync(join(damaged, 'a.bin'));
    bytes[4_500_000] = (bytes[4_500_000] ?? 0) ^ 1;
    writeFileSync(join(damaged, 'a.bin'), bytes);
    expect(await code(content, key.publicKey, sound)).toBe('sealed-file-digest');
  });

  it('SW-64: another manifest than the trusted one is not signed', async () => {
    const place = await seal();
    const opened = await SealedBundle.open(place, TRUST);
    writeFileSync(
      join(place, 'weightgate.manifest.json'),
      readFileSync(join(folder, 'weightgate.manifest.json')),
    );
    expect(await refusalCodeAsync(() => exportModelSignature(opened, key))).toBe('sealed-manifest-digest');
  });

  const documents: readonly [string, string, (document: SignatureDocument) => void][] = [
    [
      'another media type',
      'model-signature-kind',
      (d) => (d.mediaType = d.mediaType.replace('v0.3', 'v0.2')),
    ],
    ['a payload type', 'model-signature-kind', (d) => (d.dsseEnvelope.payloadType = 'text/plain')],
    [
      'a certificate',
      'model-signature-kind',
      (d) => (d.verificationMaterial = { certificate: { rawBytes: '' }, tlogEntries: [] }),
    ],
    ['no hint', 'shape-mismatch', (d) => (d.verificationMaterial['publicKey'] = {})],
    ['log entries', 'shape-mismatch', (d) => (d.verificationMaterial['tlogEntries'] = [{}])],
    [
      'two signatures',
      'shape-mismatch',
      (d) => d.dsseEnvelope.signatures.push(d.dsseEnvelope.signatures[0]!),
    ],
    ['no signature', 'shape-mismatch', (d) => (d.dsseEnvelope.signatures = [])],
    ['another member', 'shape-mismatch', (d) => Object.assign(d, { messageSignature: {} })],
    ['a cut signature', 'der-truncated', (d) => (d.dsseEnvelope.signatures[0]!.sig = 'MEUC')],
    [
      'another payload',
      'model-signature-invalid',
      (d) => (d.dsseEnvelope.payload = Buffer.from('{}').toString('base64')),
    ],
  ];
  it.each(documents)('SW-65: with %s is refused: %s', async (_name, expected, change) => {
    const document = parse(exported);
    change(document);
    const found = await code(toUtf8(JSON.stringify(document)));
    if (expected.startsWith('der-')) expect(found).toMatch(/^der-/);
    else expect(found).toBe(expected);
  });

  const resource = (
    statement: StatementDocument,
    i: number,
  ): { name: string; algorithm: string; digest: string } => statement.predicate.resources[i]!;
  const statements: readonly [string, string, (statement: StatementDocument) => void][] = [
    ['nothing changed', 'accepted', () => undefined],
    ['the order of resources', 'accepted', (s) => s.predicate.resources.reverse()],
    [
      'their own signature ignored',
      'accepted',
      (s) => (s.predicate.serialization['ignore_paths'] as string[]).push('model.sig'),
    ],
    ['links allowed', 'accepted', (s) => (s.predicate.serialization['allow_symlinks'] = true)],
    ['a file less', 'model-signature-files', (s) => s.predicate.resources.pop()],
    [
      'a file less, and ignored',
      'model-signature-files',
      (s) => {
        s.predicate.resources = s.predicate.resources.filter(({ name }) => name !== 'empty');
        (s.predicate.serialization['ignore_paths'] as string[]).push('empty');
      },
    ],
    [
      'a folder less, and ignored',
      'model-signature-files',
      (s) => {
        s.predicate.resources = s.predicate.resources.filter(({ name }) => name !== 'a/b.bin');
        (s.predicate.serialization['ignore_paths'] as string[]).push('a');
      },
    ],
    ['all ignored', 'model-signature-kind', (s) => (s.predicate.serialization['ignore_paths'] = ['.'])],
    [
      'git files not ignored',
      'model-signature-files',
      (s) => delete s.predicate.serialization['ignore_paths'],
    ],
    [
      'a file more',
      'model-signature-files',
      (s) => s.predicate.resources.push({ ...resource(s, 0), name: 'more' }),
    ],
    ['a file twice', 'model-signature-files', (s) => s.predicate.resources.push(resource(s, 0))],
    ['another digest', 'model-signature-files', (s) => (resource(s, 1).digest = resource(s, 0).digest)],
    [
      'two files exchanged',
      'model-signature-files',
      (s) => {
        const [first, second] = [resource(s, 0), resource(s, 1)];
        [first.digest, second.digest] = [second.digest, first.digest];
      },
    ],
    ['another hash', 'model-signature-kind', (s) => (s.predicate.serialization['hash_type'] = 'blake3')],
    ['another hash of one', 'model-signature-kind', (s) => (resource(s, 0).algorithm = 'blake2b')],
    [
      'shards',
      'model-signature-kind',
      (s) => Object.assign(s.predicate.serialization, { method: 'shards', shard_size: 1 }),
    ],
    [
      'the predicate of 0.2',
      'model-signature-kind',
      (s) => (s.predicateType = 'https://model_signing/Digests/v0.1'),
    ],
    ['another member', 'shape-mismatch', (s) => Object.assign(s.predicate, { more: 1 })],
    ['two subjects', 'shape-mismatch', (s) => s.subject.push(s.subject[0]!)],
  ];
  it.each(statements)('SW-65, SW-66: with %s is %s', async (_name, expected, change) => {
    expect(await code(await changed(change))).toBe(expected);
  });

  it('SW-65: is refused when its subject disagrees, or a member stands twice', async () => {
    const subject = await changed((s) => (s.subject[0]!.digest['sha256'] = 'a'.repeat(64)), false);
    expect(await code(subject)).toBe('model-signature-malformed');
    const text = JSON.stringify(statementOf(exported));
    const twice = text.replace('"predicateType"', '"predicateType":"x","predicateType"');
    expect(await code(await signed(twice))).toBe('model-signature-malformed');
    const document = Buffer.from(exported).toString().replace('"mediaType"', '"mediaType":"x","mediaType"');
    expect(await code(toUtf8(document))).toBe('model-signature-malformed');
    expect(await code(Buffer.from([0xff]))).toBe('utf8-malformed');
  });

  it('SW-65: with a byte changed anywhere is refused, or means the same', async () => {
    const read = async (content: Uint8Array): Promise<unknown> =>
      (await verifyModelSignature(content, key.publicKey, 'signature')).resources;
    const sound = await read(exported);
    const { payload } = parse(exported).dsseEnvelope;
    const start = Buffer.from(exported).indexOf(payload);
    const place = fc.nat({ max: exported.length - 1 });
    await fc.assert(
      fc.asyncProperty(place, fc.integer({ min: 1, max: 255 }), async (at, flip) => {
        const bad = Uint8Array.from(exported);
        bad[at] = (bad[at] ?? 0) ^ flip;
        let found = sound;
        const refusal = await refusalCodeAsync(async () => (found = await read(bad)));
        expect(found).toEqual(sound);
        if (at >= start && at < start + payload.length) expect(refusal).not.toBe('accepted');
      }),
      { numRuns: 300 },
    );
  });
});

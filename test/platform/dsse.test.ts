import { generateKeyPairSync, sign, verify, createPublicKey } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';

import { fromBase64, fromHex, toBase64, toUtf8 } from '../../attestation/core/bytes.ts';
import { encodeCanonicalJson } from '../../attestation/core/canonical-json.ts';
import {
  decodeEnvelope,
  decodeStatement,
  encodeEnvelope,
  encodeStatement,
  keyIdOf,
  openStatement,
  signEnvelope,
  signStatement,
  verifyEnvelope,
} from '../../src/platform/dsse.ts';
import { verifyEd25519, type Ed25519Signer } from '../../src/platform/ed25519.ts';
import { preAuthenticationEncoding } from '../../src/platform/dsse-form.ts';
import { refusalCode } from '../support/refusal-code.ts';
import { vectorFolder, vectorsMissing } from '../support/vectors.ts';

const LIMITS = { maxBytes: 1 << 20 };
const PREDICATE_TYPE = 'https://weightgate.dev/predicate/test/v1';
const predicateSchema = z.strictObject({ decision: z.string() });
const statement = {
  subject: [{ name: 'model', digest: { sha256: 'a'.repeat(64) } }],
  predicateType: PREDICATE_TYPE,
  predicate: { decision: 'allow' },
};

function newSigner(): Ed25519Signer {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519');
  return {
    publicKey: Uint8Array.from(publicKey.export({ format: 'der', type: 'spki' }).subarray(-32)),

    sign: (message) => Promise.resolve(new Uint8Array(sign(null, message, privateKey))),
  };
}

describe('envelopes', () => {
  it('what was signed verifies, reads back and encodes to the same bytes', async () => {
    const signers = [newSigner(), newSigner()];
    const bytes = encodeEnvelope(await signStatement(statement, signers));
    const envelope = decodeEnvelope(bytes, LIMITS, 'envelope');
    expect(encodeEnvelope(envelope)).toEqual(bytes);
    expect(envelope.signatures.map(({ keyid }) => keyid)).toEqual(signers.map((s) => keyIdOf(s.publicKey)));
    const keys = signers.map((signer) => signer.publicKey);
    const opened = verifyEnvelope(envelope, keys, 2, 'envelope');
    expect(opened.signedBy).toEqual(keys);
    expect(openStatement(opened, PREDICATE_TYPE, predicateSchema, LIMITS, 'statement')).toMatchObject(
      statement,
    );
  });

  it('any flipped byte of the envelope is refused, or is one of the unsigned key id', async () => {
    const signer = newSigner();
    const good = encodeEnvelope(await signStatement(statement, [signer]));
    const keyidAt = new TextDecoder().decode(good).indexOf(keyIdOf(signer.publicKey));
    for (let at = 0; at < good.length; at += 1) {
      const bad = Uint8Array.from(good);
      bad[at] = (bad[at] ?? 0) ^ 1;
      const code = refusalCode(() =>
        verifyEnvelope(decodeEnvelope(bad, LIMITS, 'envelope'), [signer.publicKey], 1, 'envelope'),
      );
      const insideKeyId = at >= keyidAt && at < keyidAt + 64;
      expect(code === 'accepted', `byte ${at}`).toBe(insideKeyId && code === 'accepted');
    }
  });

  it('random bytes and random documents give refusals only', () => {
    fc.assert(
      fc.property(fc.oneof(fc.uint8Array(), fc.json().map(toUtf8)), (bytes) => {
        expect(refusalCode(() => decodeEnvelope(bytes, LIMITS, 'envelope'))).not.toBe('accepted');
      }),
    );
  });

  it('payloads of many megabytes are read, and padding in their middle is refused', async () => {
    const signer = newSigner();
    const limits = { maxBytes: 32 << 20 };
    const payload = new Uint8Array(9 << 20).fill(1);
    const envelope = await signEnvelope('application/octet-stream', payload, [signer]);
    const bytes = encodeEnvelope(envelope);
    expect(Buffer.compare(decodeEnvelope(bytes, limits, 'e').payload, payload)).toBe(0);
    bytes.set(toUtf8('=='), '{"payload":"'.length + 262_142);
    expect(refusalCode(() => decodeEnvelope(bytes, limits, 'e'))).toBe('base64-malformed');
  });

  it('another payload type than a statement is not opened as one', async () => {
    const signer = newSigner();
    const envelope = await signEnvelope('application/json', encodeStatement(statement), [signer]);
    const opened = verifyEnvelope(envelope, [signer.publicKey], 1, 'envelope');
    expect(
      refusalCode(() => openStatement(opened, PREDICATE_TYPE, predicateSchema, LIMITS, 'statement')),
    ).toBe('dsse-payload-type');
  });

  it('a threshold that is not a number of at least one is never met', async () => {
    const signer = newSigner();
    const envelope = await signStatement(statement, [signer]);
    for (const threshold of [0, -1, Number.NaN]) {
      expect(refusalCode(() => verifyEnvelope(envelope, [signer.publicKey], threshold, 'e'))).toBe(
        'dsse-threshold',
      );
    }
  });
});

describe('statements', () => {
  it('another predicate type, an unknown member and a missing digest are refused', () => {
    const good = JSON.parse(new TextDecoder().decode(encodeStatement(statement))) as Record<string, never>;
    const variants = [
      { ...good, predicateType: 'https://example.org/other/v1' },
      { ...good, extra: 1 },
      { ...good, subject: [] },
      { ...good, subject: [{ name: 'model', digest: {} }] },
      { ...good, predicate: { decision: 'allow', extra: 1 } },
    ];
    for (const variant of variants) {
      const bytes = encodeCanonicalJson(variant);
      expect(refusalCode(() => decodeStatement(bytes, PREDICATE_TYPE, predicateSchema, LIMITS, 's'))).toBe(
        'shape-mismatch',
      );
    }
  });
});

interface VectorCase {
  readonly id: string;
  readonly expect: 'accept' | 'reject';
}
interface PaeCase extends VectorCase {
  readonly payload_type: string;
  readonly payload: string;
  readonly pae: string;
}
interface EnvelopeCase extends VectorCase {
  readonly envelope: {
    payload: string;
    payloadType: string;
    signatures: { keyid?: string; sig: string }[];
  };
  readonly keys: readonly { name: string; algorithm: string; public_key: string }[];
  readonly threshold: number;
  readonly verified?: readonly string[];
}
interface StatementCase extends VectorCase {
  readonly statement: string;
}
interface EdgeCase extends VectorCase {
  readonly key: string;
  readonly sig: string;
  readonly msg: string;
}

const missing = vectorsMissing('tlog');

function cases(file: string): readonly VectorCase[] {
  return (
    JSON.parse(readFileSync(join(vectorFolder('tlog'), file), 'utf8')) as { cases: readonly VectorCase[] }
  ).cases;
}

describe.skipIf(missing !== undefined)(`public vectors${missing === undefined ? '' : `: ${missing}`}`, () => {
  it('pre-authentication encoding', () => {
    for (const vector of cases('dsse/pae.json') as readonly PaeCase[]) {
      const encoded = preAuthenticationEncoding(vector.payload_type, fromBase64(vector.payload, vector.id));
      expect(toBase64(encoded), vector.id).toBe(vector.pae);
    }
  });

  it('envelopes with a threshold, those of Ed25519 keys', () => {
    const all = cases('dsse/envelopes.json') as readonly EnvelopeCase[];
    const ours = all.filter(({ keys }) => keys.every(({ algorithm }) => algorithm === 'ed25519'));
    expect(ours.length).toBeGreaterThan(10);
    for (const vector of ours) {
      const names = new Map(vector.keys.toReversed().map((key) => [key.public_key, key.name]));
      const verify = () =>
        verifyEnvelope(
          decodeEnvelope(encodeCanonicalJson(vector.envelope), LIMITS, vector.id),
          vector.keys.map((key) => fromHex(key.public_key, vector.id)),
          vector.threshold,
          vector.id,
        );
      expect(refusalCode(verify) === 'accepted', vector.id).toBe(vector.expect === 'accept');
      if (vector.expect === 'reject') continue;
      const signedBy = verify().signedBy.map((key) => names.get(Buffer.from(key).toString('hex')));
      expect(signedBy, vector.id).toEqual(vector.verified);
    }
  });

  it('statements that must be rejected are; the laxer accepted ones are outside our subset (W11)', () => {
    for (const vector of cases('dsse/statements.json') as readonly StatementCase[]) {
      const read = () =>
        decodeStatement(toUtf8(vector.statement), PREDICATE_TYPE, predicateSchema, LIMITS, vector.id);
      expect(refusalCode(read), vector.id).not.toBe('accepted');
    }
  });

  it('Ed25519 edge cases have the strict verdict', () => {
    for (const vector of cases('ed25519/edge-cases.json') as readonly EdgeCase[]) {
      const verdict = verifyEd25519(
        fromHex(vector.key, vector.id),
        toUtf8(vector.msg),
        fromHex(vector.sig, vector.id),
      );
      expect(verdict, vector.id).toBe(vector.expect === 'accept');
    }
  });
});

describe('Ed25519', () => {
  it('agrees with the platform on honest signatures', async () => {
    const signer = newSigner();
    const message = toUtf8('message');
    const signature = await signer.sign(message);
    const x = Buffer.from(signer.publicKey).toString('base64url');
    const key = createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x }, format: 'jwk' });
    expect(verify(null, message, key, signature)).toBe(true);
    expect(verifyEd25519(signer.publicKey, message, signature)).toBe(true);
    expect(verifyEd25519(signer.publicKey, toUtf8('another'), signature)).toBe(false);
    expect(verifyEd25519(signer.publicKey.subarray(1), message, signature)).toBe(false);
    expect(verifyEd25519(signer.publicKey, message, signature.subarray(1))).toBe(false);
  });
});

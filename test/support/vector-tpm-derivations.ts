/** Vectors of the kinds `kdfa`, `kdfe`, `encaps` and `credential`: lists of derivations with their results. */

import { z } from 'zod';

import { equalBytes, toHex, toUtf8 } from '../../attestation/core/bytes.ts';
import { bigEndian, decode, encode, sizedBytes, structure } from '../../attestation/core/layout.ts';
import { toBase64Url, unshared } from '../../attestation/core/signature.ts';
import { publicKeyOf } from '../../attestation/tpm/attestation-key.ts';
import {
  makeCredential,
  protectCredential,
  shareSeedByEcdh,
  shareSeedByRsa,
} from '../../attestation/tpm/credential.ts';
import type { EndorsementPublicArea } from '../../attestation/tpm/credential.ts';
import { tpmHash } from '../../attestation/tpm/hash.ts';
import { kdfA, kdfE } from '../../attestation/tpm/kdf.ts';
import {
  Algorithm,
  decodePublicArea,
  encryptedSecretSized,
  publicAreaSized,
} from '../../attestation/tpm/layout.ts';
import type { PublicArea } from '../../attestation/tpm/layout.ts';
import { hexShape, jsonOf, REMARK, refusalsOf, Unjudged } from './vector-tpm-case.ts';
import type { KindJudge, TpmCase } from './vector-tpm-case.ts';
import { SHA1_REASON } from './vector-tpm-reasons.ts';

/** Outcome of one derivation of a list. */
type Derived = 'reproduced' | 'other' | 'sha1';

/** Stands in the place of a refusal code. */
const OTHER_RESULT = 'another-result';

const HAS_SHA1 = new Unjudged(`some of them: ${SHA1_REASON}`);

function listJudge(derive: (subject: TpmCase) => Promise<readonly Derived[]>, member: string): KindJudge {
  return {
    async outcomes(subject) {
      const derived = await derive(subject);
      const isReproduced = derived.length > 0 && !derived.includes('other');
      return [{ label: '', codes: isReproduced ? [] : [OTHER_RESULT] }];
    },
    async members(subject) {
      const derived = await derive(subject);
      const isWhole = derived.every((result) => result === 'reproduced');
      return {
        count: derived.length,
        [member]: isWhole ? true : derived.includes('other') ? false : HAS_SHA1,
        note: REMARK,
        allReproduced: isWhole ? true : derived.includes('other') ? false : HAS_SHA1,
      };
    },
  };
}

/** SHA-1 has to be refused, and nothing else may be. */
async function deriveUnder(hash: number, work: () => boolean | Promise<boolean>): Promise<Derived> {
  const results: boolean[] = [];
  const codes = await refusalsOf(async () => results.push(await work()));
  if (hash === Algorithm.sha1) return codes.join() === 'tpm-hash' ? 'sha1' : 'other';
  return results.includes(true) ? 'reproduced' : 'other';
}

const kdfShape = z.array(
  z.strictObject({
    Name: z.string(),
    HashAlg: z.number(),
    Key: hexShape.optional(),
    Z: hexShape.optional(),
    Label: z.string(),
    ContextU: hexShape,
    ContextV: hexShape,
    Bits: z.number(),
    Result: hexShape,
  }),
);

function kdfJudge(derive: typeof kdfA): KindJudge {
  return listJudge((subject) => {
    const vectors = jsonOf(subject, 'vectors', kdfShape);
    return Promise.all(
      vectors.map(({ HashAlg, Key, Z, Label, ContextU, ContextV, Bits, Result }) =>
        deriveUnder(HashAlg, () => {
          const secret = Key ?? Z ?? new Uint8Array(0);
          return equalBytes(
            derive(tpmHash(HashAlg, 'hash'), secret, Label, ContextU, ContextV, Bits),
            Result,
          );
        }),
      ),
    );
  }, 'allReproduced');
}

export const kdfaJudge = kdfJudge(kdfA);
export const kdfeJudge = kdfJudge(kdfE);

const encapsShape = z.array(
  z.looseObject({
    Name: z.string(),
    Label: z.string(),
    EphemeralPrivate: hexShape.optional(),
    PublicKey: hexShape,
    PrivateKey: hexShape,
    Secret: hexShape,
    Ciphertext: hexShape,
  }),
);
type Encapsulation = z.infer<typeof encapsShape>[number];

export const encapsJudge: KindJudge = listJudge(
  (subject) => Promise.all(jsonOf(subject, 'vectors', encapsShape).map(encapsulate)),
  'allDecrypt',
);

async function encapsulate(vector: Encapsulation): Promise<Derived> {
  const area = asymmetric(decodePublicArea(vector.PublicKey, vector.Name));
  if (area.type === Algorithm.ecc)
    return deriveUnder(area.nameAlgorithm, () => agreesBySharedPoint(area, vector));
  const { scheme } = area.parameters;
  // A key with an OAEP scheme of its own uses the hash of the scheme; endorsement keys have none.
  const hash = scheme.algorithm === Algorithm.oaep ? scheme.hash : area.nameAlgorithm;
  return deriveUnder(hash, () => agreesByDecryption(area, hash, vector));
}

function asymmetric(area: PublicArea): EndorsementPublicArea {
  if (area.type === Algorithm.keyedHash) throw new Error('no asymmetric key');
  return area;
}

function agreesBySharedPoint(area: EndorsementPublicArea, vector: Encapsulation): boolean {
  const key = publicKeyOf(area);
  if (key.type !== 'ec' || vector.EphemeralPrivate === undefined) throw new Error('no agreement of keys');
  const hash = tpmHash(area.nameAlgorithm, vector.Name);
  const shared = shareSeedByEcdh(key, hash, vector.Label, vector.EphemeralPrivate);
  return equalBytes(shared.seed, vector.Secret) && equalBytes(shared.encryptedSecret, vector.Ciphertext);
}

/** The padding is random: the published text and one of our own must open to the published secret. */
async function agreesByDecryption(
  area: EndorsementPublicArea,
  algorithm: number,
  vector: Encapsulation,
): Promise<boolean> {
  const key = publicKeyOf(area);
  if (key.type !== 'rsa') throw new Error('no RSA key');
  const hash = tpmHash(algorithm, vector.Name);
  const privateKey = await rsaPrivateKey(key.modulus, vector.PrivateKey, hash.name);
  const oaep = { name: 'RSA-OAEP', label: toUtf8(`${vector.Label}\0`) };
  const opens = async (ciphertext: Uint8Array): Promise<boolean> => {
    const opened = await crypto.subtle.decrypt(oaep, privateKey, unshared(ciphertext));
    return equalBytes(new Uint8Array(opened), vector.Secret);
  };
  const own = await shareSeedByRsa(key, hash, vector.Label, vector.Secret);
  return (await opens(vector.Ciphertext)) && (await opens(own.encryptedSecret));
}

/** TPMT_SENSITIVE ends in one prime; the rest of the private key follows from it. */
function rsaPrivateKey(modulus: Uint8Array, sensitive: Uint8Array, hash: string) {
  const n = integerOf(modulus);
  const p = integerOf(sensitive.subarray(-modulus.length / 2));
  const q = n / p;
  const d = inverse(65537n, (p - 1n) * (q - 1n));
  const numbers = { n, d, p, q, dp: d % (p - 1n), dq: d % (q - 1n), qi: inverse(q, p) };
  const members = Object.fromEntries(Object.entries(numbers).map(([name, value]) => [name, jwkText(value)]));
  const jwk = { kty: 'RSA', e: 'AQAB', ...members };
  return crypto.subtle.importKey('jwk', jwk, { name: 'RSA-OAEP', hash }, false, ['decrypt']);
}

function integerOf(bytes: Uint8Array): bigint {
  return BigInt(`0x${toHex(bytes)}`);
}

function jwkText(value: bigint): string {
  const digits = value.toString(16);
  const bytes = (digits.length % 2 === 0 ? digits : `0${digits}`).match(/../g) ?? [];
  return toBase64Url(Uint8Array.from(bytes, (byte) => Number.parseInt(byte, 16)));
}

function inverse(value: bigint, modulus: bigint): bigint {
  let [r0, r1, t0, t1] = [modulus, value % modulus, 0n, 1n];
  while (r1 > 0n) [r0, r1, t0, t1] = [r1, r0 % r1, t1, t0 - (r0 / r1) * t1];
  if (r0 !== 1n) throw new Error('no inverse');
  return ((t0 % modulus) + modulus) % modulus;
}

const credentialShape = z.looseObject({
  ekPublicTpm2b: hexShape,
  akName: hexShape,
  credential: hexShape,
  ephemeralPrivate: hexShape.optional(),
  seed: hexShape,
  idObject: hexShape,
  encryptedSecret: hexShape.optional(),
  tpm2toolsFile: hexShape.optional(),
});

async function reproducesCredential(subject: TpmCase): Promise<boolean> {
  const vector = jsonOf(subject, 'vector', credentialShape);
  const { akName, credential, seed, idObject } = vector;
  const ek = asymmetric(decode(publicAreaSized, vector.ekPublicTpm2b, 'ek'));
  const isProtected = equalBytes(protectCredential(ek, seed, akName, credential), idObject);
  const key = publicKeyOf(ek);
  if (key.type === 'rsa') {
    const made = await makeCredential(ek, akName, credential, seed);
    return isProtected && equalBytes(made.credentialBlob, idObject);
  }
  if (vector.ephemeralPrivate === undefined || vector.encryptedSecret === undefined)
    throw new Error(`${subject.vector.id} has no ephemeral key`);
  const hash = tpmHash(ek.nameAlgorithm, 'ek');
  const shared = shareSeedByEcdh(key, hash, 'IDENTITY', vector.ephemeralPrivate);
  const isShared =
    equalBytes(shared.seed, seed) && equalBytes(shared.encryptedSecret, vector.encryptedSecret);
  return isProtected && isShared;
}

/** The file form of tpm2-tools: magic, version, and both parts with their sizes. */
const credentialFile = structure({
  magic: bigEndian.u32({ oneOf: [0xbadcc0de] }),
  version: bigEndian.u32({ oneOf: [1] }),
  credentialBlob: sizedBytes(bigEndian.u16()),
  encryptedSecret: encryptedSecretSized,
});

function isWholeFile(subject: TpmCase): boolean {
  const { idObject, encryptedSecret, tpm2toolsFile } = jsonOf(subject, 'vector', credentialShape);
  if (encryptedSecret === undefined || tpm2toolsFile === undefined) return false;
  const parts = { magic: 0xbadcc0de, version: 1, credentialBlob: idObject, encryptedSecret };
  return equalBytes(encode(credentialFile, parts, 'credential'), tpm2toolsFile);
}

export const credentialJudge: KindJudge = {
  async outcomes(subject) {
    return [{ label: '', codes: (await reproducesCredential(subject)) ? [] : [OTHER_RESULT] }];
  },
  async members(subject) {
    const isReproduced = await reproducesCredential(subject);
    return {
      idObjectReproducedFromSeed: isReproduced,
      wholeFileReproduced: isReproduced && isWholeFile(subject),
      oaepLabel: String.raw`IDENTITY\0`,
      note: REMARK,
    };
  },
};

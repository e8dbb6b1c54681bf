/** Signed statements and public areas of TPMs, by the names of the manifest. */

import { equalBytes, toHex } from '../../attestation/core/bytes.ts';
import { decode, encode } from '../../attestation/core/layout.ts';
import { Algorithm, attest, AttestType, ObjectAttribute, publicArea } from '../../attestation/tpm/layout.ts';
import type { Attest, PcrSelectionList, PublicArea, Signature } from '../../attestation/tpm/layout.ts';
import { computeName } from '../../attestation/tpm/name.ts';
import type { Members } from './vector-tpm-case.ts';

const HASH_NAMES: ReadonlyMap<number, string> = new Map([
  [Algorithm.sha1, 'sha1'],
  [Algorithm.sha256, 'sha256'],
  [Algorithm.sha384, 'sha384'],
  [Algorithm.sha512, 'sha512'],
]);

const SCHEME_NAMES: ReadonlyMap<number, string> = new Map([
  [Algorithm.rsassa, 'rsassa'],
  [Algorithm.rsapss, 'rsapss'],
  [Algorithm.ecdsa, 'ecdsa'],
]);

const TYPE_NAMES: ReadonlyMap<number, string> = new Map([
  [Algorithm.rsa, 'RSA'],
  [Algorithm.ecc, 'ECC'],
]);

export function hashName(algorithm: number): string {
  return HASH_NAMES.get(algorithm) ?? `0x${algorithm.toString(16)}`;
}

/** TPM_ALG_ID by the manifest's name of a hash. @throws Error for an unknown one */
export function hashAlgorithm(name: string): number {
  for (const [algorithm, known] of HASH_NAMES) if (known === name) return algorithm;
  throw new Error(`no hash is called ${name}`);
}

const wide = (value: number | bigint, digits: number): string => value.toString(16).padStart(digits, '0');

/**
 * A statement as the manifest writes it. The bytes are what writing the statement again gives.
 *
 * @throws RefusalError `layout-*`
 */
export function attestMembers(bytes: Uint8Array): Members {
  const statement = decode(attest, bytes, 'attest');
  if (!equalBytes(encode(attest, statement, 'attest'), bytes))
    throw new Error('reading and writing a statement changes it');
  return {
    magic: wide(statement.magic, 8),
    type: wide(statement.type, 4),
    qualifiedSigner: toHex(statement.qualifiedSigner),
    extraData: toHex(statement.extraData),
    clock: statement.clockInfo.clock.toString(),
    resetCount: statement.clockInfo.resetCount,
    restartCount: statement.clockInfo.restartCount,
    safe: statement.clockInfo.safe,
    firmwareVersion: wide(statement.firmwareVersion, 16),
    ...attestedMembers(statement),
  };
}

function attestedMembers(statement: Attest): Members {
  if (statement.type === AttestType.quote) {
    const { pcrSelect, pcrDigest } = statement.attested;
    return { pcrSelect: selectionMembers(pcrSelect), pcrDigest: toHex(pcrDigest) };
  }
  if (statement.type === AttestType.certify) {
    const { name, qualifiedName } = statement.attested;
    return { name: toHex(name), qualifiedName: toHex(qualifiedName) };
  }
  if (statement.type !== AttestType.creation) throw new Error('the manifest has no words for this statement');
  const { objectName, creationHash } = statement.attested;
  return { objectName: toHex(objectName), creationHash: toHex(creationHash) };
}

function selectionMembers(list: PcrSelectionList): readonly Members[] {
  return list.map(({ hash, select }) => ({
    alg: hashName(hash),
    pcrs: Array.from({ length: select.length * 8 }, (_, pcr) => pcr).filter(
      (pcr) => ((select[pcr >> 3] ?? 0) & (1 << (pcr & 7))) !== 0,
    ),
  }));
}

export function signatureMembers(signature: Signature): Members {
  return { scheme: SCHEME_NAMES.get(signature.algorithm), hash: hashName(signature.hash) };
}

/** A public area as the manifest writes it, Name included. @throws RefusalError `layout-*`, `tpm-hash` */
export function areaMembers(bytes: Uint8Array): Members {
  const area = decode(publicArea, bytes, 'publicArea');
  if (!equalBytes(encode(publicArea, area, 'publicArea'), bytes))
    throw new Error('reading and writing a public area changes it');
  if (area.type === Algorithm.keyedHash) throw new Error('the manifest has no words for keyed hashes');
  return {
    type: TYPE_NAMES.get(area.type),
    nameAlg: hashName(area.nameAlgorithm),
    attributes: attributeNames(area),
    attributesHex: `0x${wide(area.objectAttributes, 8)}`,
    scheme: schemeMembers(area),
    ...(area.type === Algorithm.rsa ? { bits: area.parameters.keyBits } : { curve: area.parameters.curve }),
    authPolicy: toHex(area.authPolicy),
    name: toHex(computeName(area)),
  };
}

/** In the order of their bits. */
function attributeNames({ objectAttributes }: PublicArea): readonly string[] {
  const set = Object.entries(ObjectAttribute).filter(([, bit]) => (objectAttributes & bit) !== 0);
  return set.map(([name]) => name);
}

function schemeMembers(area: Exclude<PublicArea, { type: typeof Algorithm.keyedHash }>): Members | null {
  const { scheme } = area.parameters;
  if (!('hash' in scheme)) return null;
  return { alg: SCHEME_NAMES.get(scheme.algorithm), hash: hashName(scheme.hash) };
}

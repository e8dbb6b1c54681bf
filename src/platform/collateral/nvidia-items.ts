/** Collateral for NVIDIA's GPUs and switches: manifests, answers about certificates, and keys of the attestation service. */

import { sha256 } from '@noble/hashes/sha2.js';

import { toHex } from '../../../attestation/core/bytes.ts';

/** A manifest of reference values: XML, under the identifier that NVIDIA gives it. */
export interface RimItem {
  readonly kind: 'rim';
  /** Capital letters, digits, `.` and `_`. It is not in what is signed. */
  readonly identifier: string;
}

/** What the issuer of a certificate says of it: an OCSPResponse, DER. */
export interface OcspItem {
  readonly kind: 'ocsp';
  /** DER: the certificate, its issuer, and so on up to the root. */
  readonly chain: readonly Uint8Array[];
}

/** The certificates above one that an answer is about: PEM, the certificate first. So a store can check its answers. */
export interface IssuerChainItem {
  readonly kind: 'issuer-chain';
  /** SHA-256 of the certificate, 32 bytes. */
  readonly certificateDigest: Uint8Array;
}

/** The keys of NVIDIA's remote attestation service: a JSON Web Key Set. */
export interface NrasKeysItem {
  readonly kind: 'nras-keys';
}

/** A manifest that another issue under its identifier took the place of. */
export interface SupersededRimItem {
  readonly kind: 'superseded-rim';
  readonly identifier: string;
  /** SHA-256 of the file, 32 bytes. */
  readonly fileDigest: Uint8Array;
}

export type NvidiaItem = RimItem | SupersededRimItem | OcspItem | IssuerChainItem | NrasKeysItem;

const NVIDIA_KINDS: ReadonlySet<string> = new Set<NvidiaItem['kind']>([
  'rim',
  'superseded-rim',
  'ocsp',
  'issuer-chain',
  'nras-keys',
]);

/** Whether a piece of collateral of any vendor is one of these. */
export function isNvidiaItem(item: { readonly kind: string }): item is NvidiaItem {
  return NVIDIA_KINDS.has(item.kind);
}

/** What an identifier of a manifest is made of. */
export const RIM_IDENTIFIER = /^NV_[A-Z0-9._]{1,120}$/;

/** SHA-256 of the certificate that an answer is about. */
export function certificateDigestOf({ chain: [certificate] }: OcspItem): Uint8Array {
  return sha256(certificate ?? new Uint8Array());
}

/** The chain of an answer, as an item of its own. */
export function issuerChainOf(item: OcspItem): IssuerChainItem {
  return { kind: 'issuer-chain', certificateDigest: certificateDigestOf(item) };
}

/** A name that no other item has. */
export function nvidiaItemName(item: NvidiaItem): string {
  switch (item.kind) {
    case 'rim':
      return `nvidia/rim/${item.identifier}`;
    case 'superseded-rim':
      return `nvidia/superseded/${item.identifier}-${toHex(item.fileDigest)}`;
    case 'ocsp':
      return `nvidia/ocsp/${toHex(certificateDigestOf(item))}`;
    case 'issuer-chain':
      return `nvidia/ocsp/${toHex(item.certificateDigest)}-chain`;
    case 'nras-keys':
      return 'nvidia/nras-keys';
  }
}

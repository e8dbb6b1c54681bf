/**
 * Collateral: what a verifier needs besides evidence and anchors, and what somebody has to fetch for it
 * (docs/spec/collateral.md). The verifier itself fetches nothing (W10); it is handed what a source here found.
 */

import { toHex } from '../../../attestation/core/bytes.ts';
import type { ProductLine } from '../../../attestation/sev-snp/product.ts';
import { tcbEncodingOf, writeTcb, type Tcb } from '../../../attestation/sev-snp/tcb.ts';
import { isNvidiaItem, nvidiaItemName, type NvidiaItem } from './nvidia-items.ts';

/** The key of one chip at one level of its firmware. */
export interface VcekItem {
  readonly kind: 'vcek';
  readonly line: ProductLine;
  /** As in the report: 64 bytes, on Turin the last 56 of them zero. */
  readonly chipId: Uint8Array;
  readonly tcb: Tcb;
}

/** Which intermediate of a line: that of the VCEKs (ASK) or that of the VLEKs (ASVK). */
export type Signer = 'vcek' | 'vlek';

/** The certificates above an endorsement key: PEM, the intermediate and then the root. */
export interface ChainItem {
  readonly kind: 'chain';
  readonly line: ProductLine;
  readonly signer: Signer;
}

/** The root's revocation list: DER. */
export interface RevocationListItem {
  readonly kind: 'crl';
  readonly line: ProductLine;
  readonly signer: Signer;
}

/** One piece of collateral for SEV-SNP. A VLEK is not among them: only a cloud's operator can ask for it, so it comes with evidence. */
export type CollateralItem = VcekItem | ChainItem | RevocationListItem;

/** One piece of collateral of any vendor. */
export type AnyCollateralItem = CollateralItem | NvidiaItem;

/** Where collateral of one vendor comes from. */
export interface CollateralSource<Item extends AnyCollateralItem = CollateralItem> {
  /**
   * The item in the form that its kind says, undefined when the source has none.
   *
   * @throws RefusalError when the source cannot say, or when what it has is not genuine
   */
  find(item: Item): Promise<Uint8Array | undefined>;
}

const TURIN_CHIP_ID_BYTES = 8;

/** The part of a chip id that names the chip. */
export function chipIdText({ line, chipId }: VcekItem): string {
  return toHex(line === 'Turin' ? chipId.subarray(0, TURIN_CHIP_ID_BYTES) : chipId);
}

/** A name that no other item has, of letters, digits, `.`, `_`, `-` and `/`. */
export function collateralName(item: AnyCollateralItem): string {
  if (isNvidiaItem(item)) return nvidiaItemName(item);
  const folder = `sev-snp/${item.line}`;
  if (item.kind !== 'vcek') return `${folder}/${item.signer}-${item.kind}`;
  return `${folder}/vcek/${chipIdText(item)}-${toHex(writeTcb(tcbEncodingOf(item.line), item.tcb))}`;
}

/** Bounds of each kind, several times the size of what AMD and NVIDIA publish. */
export const MAX_COLLATERAL_BYTES: Readonly<Record<AnyCollateralItem['kind'], number>> = {
  vcek: 8 * 1024,
  chain: 32 * 1024,
  crl: 256 * 1024,
  rim: 256 * 1024,
  'superseded-rim': 256 * 1024,
  ocsp: 16 * 1024,
  'issuer-chain': 32 * 1024,
  'nras-keys': 256 * 1024,
};

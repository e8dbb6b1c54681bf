/**
 * PAGE_INFO (AMD 56860, SNP_LAUNCH_UPDATE): how the firmware extends the launch digest with each page that the host
 * puts into the guest before it starts. The host chooses pages and order; the firmware computes the digest.
 */

import { sha384 } from '@noble/hashes/sha2.js';

import { encode, fixedBytes, littleEndian, reserved, structure } from '../../core/layout.ts';

const { u8, u16, u64 } = littleEndian;

export const PAGE_BYTES = 4096;
export const DIGEST_BYTES = 48;

/** PAGE_TYPE. The digest covers what a page holds in the first two; of the others only their type and address. */
export const PageType = { normal: 1, vmsa: 2, zero: 3, unmeasured: 4, secrets: 5, cpuid: 6 } as const;

/** Types of pages whose content the firmware itself fixes or does not measure. */
export type BlankPageType = (typeof PageType)['zero' | 'unmeasured' | 'secrets' | 'cpuid'];
type PageTypeValue = (typeof PageType)[keyof typeof PageType];

/** What the digest is before the first page. */
export const EMPTY_DIGEST = new Uint8Array(DIGEST_BYTES);

const NO_CONTENTS = new Uint8Array(DIGEST_BYTES);
const PAGE_INFO_BYTES = 0x70;

const none = (): ReturnType<typeof u8> => u8({ oneOf: [0] });

const pageInfo = structure({
  digest: fixedBytes(DIGEST_BYTES),
  contents: fixedBytes(DIGEST_BYTES),
  length: u16({ oneOf: [PAGE_INFO_BYTES] }),
  pageType: u8({ oneOf: Object.values(PageType) }),
  /** A page of a migration image. */
  imiPage: none(),
  vmpl3Permissions: none(),
  vmpl2Permissions: none(),
  vmpl1Permissions: none(),
  reserved: reserved(1),
  address: u64(),
});

function extend(
  digest: Uint8Array,
  pageType: PageTypeValue,
  address: number,
  contents: Uint8Array,
): Uint8Array {
  const page = {
    digest,
    contents,
    length: PAGE_INFO_BYTES,
    pageType,
    imiPage: 0,
    vmpl3Permissions: 0,
    vmpl2Permissions: 0,
    vmpl1Permissions: 0,
    address: BigInt(address),
  };
  return sha384(encode(pageInfo, page, 'pageInfo'));
}

/** Extends the digest with pages whose content is measured. @param bytes whole pages, the first of them at `address` */
export function extendWithContents(digest: Uint8Array, address: number, bytes: Uint8Array): Uint8Array {
  let extended = digest;
  for (let at = 0; at < bytes.length; at += PAGE_BYTES) {
    const contents = sha384(bytes.subarray(at, at + PAGE_BYTES));
    extended = extend(extended, PageType.normal, address + at, contents);
  }
  return extended;
}

/** Extends the digest with pages of which only type and address count. @param length whole pages, in bytes */
export function extendWithBlanks(
  digest: Uint8Array,
  pageType: BlankPageType,
  address: number,
  length: number,
): Uint8Array {
  let extended = digest;
  for (let at = 0; at < length; at += PAGE_BYTES) {
    extended = extend(extended, pageType, address + at, NO_CONTENTS);
  }
  return extended;
}

/**
 * The host names the address -1 for every VMSA; the firmware cuts it to the page and to the 48 bits of a guest's
 * physical address.
 */
const VMSA_ADDRESS = 0xffff_ffff_f000;

/** Extends the digest with the initial state of vCPUs that all start alike. @param page one VMSA page */
export function extendWithVmsa(digest: Uint8Array, page: Uint8Array, vcpus: number): Uint8Array {
  const contents = sha384(page);
  let extended = digest;
  for (let vcpu = 0; vcpu < vcpus; vcpu += 1) {
    extended = extend(extended, PageType.vmsa, VMSA_ADDRESS, contents);
  }
  return extended;
}

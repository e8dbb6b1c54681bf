/**
 * What passes between a guest and the driver `/dev/sev-guest` (Linux, include/uapi/linux/sev-guest.h), and the
 * certificate table that the host puts beside a report (GHCB specification, SNP Extended Guest Request).
 */

import {
  decode,
  encode,
  fixedBytes,
  littleEndian,
  reserved,
  structure,
  type ValueOf,
} from '../../attestation/core/layout.ts';
import { REPORT_DATA_BYTES } from './guest.ts';
import { sevGuestContentRefusals } from './refusals.ts';

const { u8, u32, u64 } = littleEndian;

/** Requests, as `_IOWR('S', …, struct snp_guest_request_ioctl)` gives them. */
export const Request = { report: 0xc020_5300, extendedReport: 0xc020_5302 } as const;

/** Largest room for certificates that the driver takes (SEV_FW_BLOB_MAX_SIZE). */
export const MAX_TABLE_BYTES = 0x4000;
export const PAGE_BYTES = 4096;

/** struct snp_guest_request_ioctl. */
export const envelope = structure({
  messageVersion: u8({ oneOf: [1] }),
  reserved: reserved(7),
  requestAddress: u64(),
  responseAddress: u64(),
  /** Low half from the firmware, high half from the host; all ones when neither was reached. */
  exitInformation: u64(),
});

/** What the driver leaves in `exitInformation` when the request did not leave the guest (SEV_RET_NO_FW_CALL). */
export const NOT_SENT = 0xffff_ffff_ffff_ffffn;

/** SNP_GUEST_VMM_ERR_*. */
export const HostError = { none: 0, invalidLength: 1, busy: 2 } as const;

export interface ExitInformation {
  readonly firmware: number;
  readonly host: number;
}

export function exitInformationOf(envelopeBytes: Uint8Array): ExitInformation | 'not-sent' {
  const { exitInformation } = decode(envelope, envelopeBytes, 'exitinfo2');
  if (exitInformation === NOT_SENT) return 'not-sent';
  return { firmware: Number(exitInformation & 0xffff_ffffn), host: Number(exitInformation >> 32n) };
}

/** struct snp_ext_report_req. Its first 96 bytes are struct snp_report_req. */
const extendedRequest = structure({
  userData: fixedBytes(REPORT_DATA_BYTES),
  vmpl: u32({ max: 3 }),
  // The firmware reads the first four as the choice of the key; 0 is VLEK where there is one, else VCEK.
  reserved: reserved(28),
  certificatesAddress: u64(),
  certificatesBytes: u32(),
  padding: reserved(4),
});

export const REQUEST_BYTES = 112;
export const ENVELOPE_BYTES = 32;

export function writeRequest(request: ValueOf<typeof extendedRequest>): Uint8Array {
  return encode(extendedRequest, request, 'request');
}

/** Size that the driver wants for the certificates, after it said that there is too little. */
export function wantedCertificateBytes(request: Uint8Array): number {
  return decode(extendedRequest, request, 'request').certificatesBytes;
}

/** MSG_REPORT_RSP of the firmware within struct snp_report_resp (AMD 56860). */
export const RESPONSE_BYTES = 4000;
const responseHead = structure({ status: u32(), reportBytes: u32(), reserved: reserved(24) });
const RESPONSE_HEAD_BYTES = 32;

/** The firmware's status and the report. @throws RefusalError `sev-guest-answer`, `layout-reserved` */
export function readResponse(
  bytes: Uint8Array,
  reportBytes: number,
): { readonly status: number; readonly report: Uint8Array } {
  const head = decode(responseHead, bytes.subarray(0, RESPONSE_HEAD_BYTES), 'response');
  if (head.status !== 0) return { status: head.status, report: new Uint8Array() };
  if (head.reportBytes !== reportBytes) {
    throw sevGuestContentRefusals.error('sev-guest-answer', {
      field: 'response.report_size',
      expected: String(reportBytes),
      found: String(head.reportBytes),
    });
  }
  return { status: 0, report: bytes.slice(RESPONSE_HEAD_BYTES, RESPONSE_HEAD_BYTES + reportBytes) };
}

const tableEntry = structure({ guid: fixedBytes(16), offset: u32(), length: u32() });
const TABLE_ENTRY_BYTES = 24;
const MAX_TABLE_ENTRIES = 16;

/**
 * Cuts a certificate table out of the room that it was given (SA-13): entries up to an empty one, then what they point
 * to. The host fills it, so only its extent is looked at here.
 *
 * @returns no bytes where the host gave no certificates
 * @throws RefusalError `sev-guest-answer`
 */
export function cutCertificateTable(room: Uint8Array): Uint8Array {
  if (room.length === 0) return room;
  let end = 0;
  for (let i = 0; i <= MAX_TABLE_ENTRIES; i += 1) {
    const at = i * TABLE_ENTRY_BYTES;
    if (at + TABLE_ENTRY_BYTES > room.length) break;
    const { guid, offset, length } = decode(tableEntry, room.subarray(at, at + TABLE_ENTRY_BYTES), 'table');
    const isLast = guid.every((byte) => byte === 0);
    if (isLast && end === 0) return new Uint8Array();
    if (isLast) return room.slice(0, Math.max(end, at + TABLE_ENTRY_BYTES));
    end = Math.max(end, offset + length);
    if (end > room.length) break;
  }
  throw sevGuestContentRefusals.error('sev-guest-answer', {
    field: 'certificates',
    expected: `at most ${MAX_TABLE_ENTRIES} entries within ${room.length} bytes, then an empty one`,
    found: 'a table that goes beyond',
  });
}

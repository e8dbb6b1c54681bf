/** PCR selections as people write them, and as the TPM wants them. */

import { toHex } from '../../../attestation/core/bytes.ts';
import { Algorithm, type PcrSelectionList } from '../../../attestation/tpm/layout.ts';

/** The banks that count as evidence. */
export type PcrBank = 'sha256' | 'sha384';

/** Which PCRs of which banks, for example `{ sha256: [0, 1, 2, 3, 4, 7] }`. */
export type PcrSelection = Readonly<Partial<Record<PcrBank, readonly number[]>>>;

/** Values in hexadecimal by bank and by PCR number, as evidence carries them. */
export type PcrValues = Readonly<Partial<Record<PcrBank, Readonly<Record<string, string>>>>>;

/** One PCR of one bank with its value. */
export interface PcrValue {
  readonly hash: number;
  readonly pcr: number;
  readonly value: Uint8Array;
}

const BANKS: readonly (readonly [PcrBank, number])[] = [
  ['sha256', Algorithm.sha256],
  ['sha384', Algorithm.sha384],
];
const SELECT_BYTES = 3;

/** Writes a selection; banks come in the order of their algorithm numbers. */
export function toSelectionList(selection: PcrSelection): PcrSelectionList {
  return BANKS.flatMap(([bank, hash]) => {
    const pcrs = selection[bank] ?? [];
    return pcrs.length === 0 ? [] : [{ hash, select: toBitmap(pcrs) }];
  });
}

function toBitmap(pcrs: readonly number[]): Uint8Array {
  const bitmap = new Uint8Array(SELECT_BYTES);
  for (const pcr of pcrs) bitmap[pcr >> 3] = (bitmap[pcr >> 3] ?? 0) | (1 << (pcr & 7));
  return bitmap;
}

/** Every selected PCR, in the order in which the TPM returns and hashes the values. */
export function selectedPcrs(list: PcrSelectionList): { readonly hash: number; readonly pcr: number }[] {
  return list.flatMap(({ hash, select }) =>
    Array.from({ length: select.length * 8 }, (_, pcr) => pcr)
      .filter((pcr) => (((select[pcr >> 3] ?? 0) >> (pcr & 7)) & 1) === 1)
      .map((pcr) => ({ hash, pcr })),
  );
}

/** A selection without those PCRs that were read already. */
export function withoutPcrs(list: PcrSelectionList, read: readonly PcrValue[]): PcrSelectionList {
  return list
    .map(({ hash, select }) => {
      const left = selectedPcrs([{ hash, select }]).filter(
        ({ pcr }) => !read.some((done) => done.hash === hash && done.pcr === pcr),
      );
      return { hash, select: toBitmap(left.map(({ pcr }) => pcr)) };
    })
    .filter(({ select }) => select.some((byte) => byte !== 0));
}

export function toPcrValues(values: readonly PcrValue[]): PcrValues {
  return Object.fromEntries(
    BANKS.map(([bank, algorithm]) => [
      bank,
      Object.fromEntries(
        values.filter(({ hash }) => hash === algorithm).map(({ pcr, value }) => [String(pcr), toHex(value)]),
      ),
    ]).filter(([, bank]) => Object.keys(bank as object).length > 0),
  ) as PcrValues;
}

/** PCR selections as people write them, and as the TPM takes them apart: it returns at most eight values at once. */

import { toHex } from '../../attestation/core/bytes.ts';
import { type TpmHash, tpmHash } from '../../attestation/tpm/hash.ts';
import { Algorithm, type PcrSelectionList } from '../../attestation/tpm/layout.ts';
import { selectPcrs } from '../../attestation/tpm/pcr-selection.ts';

/** The banks that count as evidence. */
type PcrBank = 'sha256' | 'sha384';

/** Which PCRs of which banks, for example `{ sha256: [0, 1, 2, 3, 4, 7] }`. */
export type PcrSelection = Readonly<Partial<Record<PcrBank, readonly number[]>>>;

/** Values in hexadecimal by bank and by PCR number. */
export type PcrValues = Readonly<Partial<Record<PcrBank, Readonly<Record<string, string>>>>>;

const BANKS = {
  sha256: tpmHash(Algorithm.sha256, 'bank'),
  sha384: tpmHash(Algorithm.sha384, 'bank'),
} as const;
const BANK_NAMES: readonly PcrBank[] = ['sha256', 'sha384'];

export function bankNamed(name: PcrBank): TpmHash {
  return BANKS[name];
}

/** The selection as a TPM takes it, without banks of which nothing is selected. */
export function toSelectionList(selection: PcrSelection): PcrSelectionList {
  return BANK_NAMES.flatMap((name) => {
    const pcrs = selection[name] ?? [];
    return pcrs.length === 0 ? [] : selectPcrs({ bank: BANKS[name], pcrs });
  });
}

/** Values by bank and number, without banks that have none. */
export function toPcrValues(values: readonly PcrValue[]): PcrValues {
  const byBank = BANK_NAMES.map((name) => {
    const ofBank = values.filter(({ hash }) => hash === BANKS[name].algorithm);
    return [name, Object.fromEntries(ofBank.map(({ pcr, value }) => [String(pcr), toHex(value)]))] as const;
  });
  return Object.fromEntries(byBank.filter(([, ofBank]) => Object.keys(ofBank).length > 0));
}

/** One PCR of one bank with its value. */
export interface PcrValue {
  /** TPM_ALG_ID of the bank. */
  readonly hash: number;
  readonly pcr: number;
  readonly value: Uint8Array;
}

/** Every selected PCR, in the order in which the TPM returns and hashes the values. */
export function selectedPcrs(list: PcrSelectionList): { readonly hash: number; readonly pcr: number }[] {
  return list.flatMap(({ hash, select }) =>
    Array.from({ length: select.length * 8 }, (_, pcr) => pcr)
      .filter((pcr) => (((select[pcr >> 3] ?? 0) >> (pcr & 7)) & 1) === 1)
      .map((pcr) => ({ hash, pcr })),
  );
}

/** The banks that have a PCR, as far as they count as evidence; a TPM takes no digests of others. */
export function banksWithPcr(banks: PcrSelectionList, pcr: number): readonly TpmHash[] {
  return Object.values(BANKS).filter(({ algorithm }) =>
    selectedPcrs(banks).some((place) => place.hash === algorithm && place.pcr === pcr),
  );
}

/** A selection without those PCRs that were read already. */
export function withoutPcrs(list: PcrSelectionList, read: readonly PcrValue[]): PcrSelectionList {
  return list
    .map(({ hash, select }) => {
      const left = Uint8Array.from(select);
      for (const done of read) {
        if (done.hash === hash) left[done.pcr >> 3] = (left[done.pcr >> 3] ?? 0) & ~(1 << (done.pcr & 7));
      }
      return { hash, select: left };
    })
    .filter(({ select }) => select.some((byte) => byte !== 0));
}

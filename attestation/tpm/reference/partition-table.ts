/**
 * The GUID partition table of a disk in the form in which firmware measures it into PCR 5, UEFI_GPT_DATA (UEFI
 * Specification, section 5.3; TCG "PC Client Platform Firmware Profile", section 10.4.1): the header, the number of
 * partitions that are in use, and their entries.
 */

import { concatBytes, toUtf8 } from '../../core/bytes.ts';
import { constantBytes, decode, encode, fixedBytes, littleEndian, structure } from '../../core/layout.ts';
import { defineRefusals } from '../../core/refusal.ts';

export const partitionTableRefusals = defineRefusals('malformed', {
  'partition-table': {
    means:
      'A disk has no GUID partition table where the firmware looks for it, or one that reaches out of what was given.',
    hint: 'Give the disk or its image from its first byte on, and the right size of its blocks.',
  },
});

const { u32, u64 } = littleEndian;

export const GPT_HEADER_BYTES = 92;
const ENTRY_BYTES = 128;
const MAX_ENTRIES = 1024;

const header = structure({
  signature: constantBytes(toUtf8('EFI PART')),
  revision: u32({ oneOf: [0x00010000] }),
  headerBytes: u32({ oneOf: [GPT_HEADER_BYTES] }),
  checksum: u32(),
  reserved: u32({ oneOf: [0] }),
  ownBlock: u64({ oneOf: [1n] }),
  others: fixedBytes(40),
  entriesBlock: u64({ max: 0xffff_ffffn }),
  entryCount: u32({ max: MAX_ENTRIES }),
  entryBytes: u32({ oneOf: [ENTRY_BYTES, 2 * ENTRY_BYTES, 4 * ENTRY_BYTES] }),
  entriesChecksum: u32(),
});

const TYPE_BYTES = 16;

/** The largest beginning of a disk that a table can take. */
export const MAX_TABLE_BYTES = 1024 * 1024;

/**
 * @param disk its beginning, as far as the table reaches
 * @param blockBytes 512, or 4096 on some disks
 * @throws RefusalError `partition-table`, `layout-*`
 */
export function partitionTableEvent(disk: Uint8Array, blockBytes: number): Uint8Array {
  const raw = disk.subarray(blockBytes, blockBytes + GPT_HEADER_BYTES);
  const { entriesBlock, entryCount, entryBytes } = decode(header, raw, 'disk.partitionTable');
  const start = Number(entriesBlock) * blockBytes;
  const end = start + entryCount * entryBytes;
  if (start < 2 * blockBytes || end > disk.length) {
    throw partitionTableRefusals.error('partition-table', {
      field: 'disk.partitionTable.entriesBlock',
      expected: `entries between ${2 * blockBytes} and ${disk.length}`,
      found: `${start} to ${end}`,
    });
  }
  const entries = Array.from({ length: entryCount }, (_, i) =>
    disk.subarray(start + i * entryBytes, start + (i + 1) * entryBytes),
  );
  const used = entries.filter((entry) => entry.subarray(0, TYPE_BYTES).some((byte) => byte !== 0));
  return concatBytes(raw, encode(u64(), BigInt(used.length), 'partitions'), ...used);
}

/**
 * The table of GUIDs at the end of an OVMF image (edk2, OvmfPkg/ResetVector/Ia16/ResetVectorVtf0.asm), by which the
 * firmware tells the hypervisor where things are. It is read from its end, 32 bytes before the end of the image,
 * towards the front: each entry is its data, then its size with this head, then its GUID.
 */

import { equalBytes, toHex } from '../../core/bytes.ts';
import { decode, fixedBytes, littleEndian, structure } from '../../core/layout.ts';
import { defineRefusals } from '../../core/refusal.ts';
import { guid } from './guid.ts';

const { u16 } = littleEndian;

export const guidTableRefusals = defineRefusals('malformed', {
  'ovmf-table': {
    means: 'A firmware image does not end with the table of GUIDs of an OVMF image, or the table is broken.',
    hint: 'Name the OVMF image that the machine boots (OVMF.fd or OVMF_CODE.fd), not its variables and not another firmware.',
  },
});

const FOOTER = guid('96b582de-1fb2-45f7-baea-a366c55a082d');
/** The reset vector takes these last bytes. */
const BYTES_AFTER_TABLE = 32;
const HEAD_BYTES = 18;

const entryHead = structure({ size: u16(), guid: fixedBytes(16) });

function refuse(field: string, expected: string, found: string): never {
  throw guidTableRefusals.error('ovmf-table', { field, expected, found });
}

function readHead(image: Uint8Array, end: number, path: string): { size: number; guid: Uint8Array } {
  return decode(entryHead, image.subarray(end - HEAD_BYTES, end), path);
}

/**
 * The entries by the hexadecimal digits of their GUID. GUIDs that nobody here asks for are left alone: the table is
 * made to be added to, and all of it is measured with the image.
 *
 * @throws RefusalError `ovmf-table`
 */
export function readGuidTable(image: Uint8Array, path: string): ReadonlyMap<string, Uint8Array> {
  const end = image.length - BYTES_AFTER_TABLE;
  if (end < HEAD_BYTES) refuse(path, 'an OVMF image', `${image.length} bytes`);
  const footer = readHead(image, end, path);
  if (!equalBytes(footer.guid, FOOTER)) {
    refuse(path, `the GUID ${toHex(FOOTER)} at the end of the table`, toHex(footer.guid));
  }
  if (footer.size < HEAD_BYTES || footer.size > end) {
    refuse(path, `a table of ${HEAD_BYTES} to ${end} bytes`, `${footer.size} bytes`);
  }
  return readEntries(image.subarray(end - footer.size, end - HEAD_BYTES), path);
}

function readEntries(table: Uint8Array, path: string): ReadonlyMap<string, Uint8Array> {
  const entries = new Map<string, Uint8Array>();
  let end = table.length;
  while (end > 0) {
    if (end < HEAD_BYTES) refuse(path, 'whole entries', `${end} bytes before the first`);
    const entry = readHead(table, end, path);
    const name = toHex(entry.guid);
    if (entry.size < HEAD_BYTES || entry.size > end) {
      refuse(`${path}.${name}`, `an entry of ${HEAD_BYTES} to ${end} bytes`, `${entry.size} bytes`);
    }
    if (entries.has(name)) refuse(`${path}.${name}`, 'each GUID once', 'the same GUID again');
    entries.set(name, table.subarray(end - entry.size, end - HEAD_BYTES));
    end -= entry.size;
  }
  return entries;
}

/** Operations on JSON: sets of devices, answers of NVIDIA's service and the tokens within them. */

import { fromBase64, fromUtf8, toBase64, toHex, toUtf8 } from '../../attestation/core/bytes.ts';
import { toBase64Url } from '../../attestation/core/signature.ts';
import { caseOf, fileOf, vectorById } from './vector-nvidia-case.ts';
import type { NvidiaSet } from './vector-nvidia-case.ts';
import type { OperationOf } from './vector-nvidia-operations.ts';
import { itemAt } from './vector-nvidia-pieces.ts';

type Device = Readonly<Record<string, unknown>>;

export function editDevices(
  bytes: Uint8Array,
  operation: OperationOf<'set_copy' | 'set_delete' | 'set_field' | 'set_swap' | 'set_replace'>,
  set: NvidiaSet,
): Uint8Array {
  const devices: unknown = JSON.parse(fromUtf8(bytes, 'set'));
  if (!Array.isArray(devices)) throw new Error('the set is not an array of devices');
  return toUtf8(JSON.stringify(editList(devices as readonly Device[], operation, set)));
}

function editList(
  devices: readonly Device[],
  operation: Parameters<typeof editDevices>[1],
  set: NvidiaSet,
): readonly Device[] {
  switch (operation.op) {
    case 'set_copy':
      return devices.with(operation.to, itemAt(devices, operation.from));
    case 'set_delete':
      return devices.toSpliced(operation.index, 1);
    case 'set_field': {
      const { index, field, value } = operation;
      return devices.with(index, { ...itemAt(devices, index), [field]: value });
    }
    case 'set_swap': {
      const { i, j, field } = operation;
      const [first, second] = [itemAt(devices, i), itemAt(devices, j)];
      return devices
        .with(i, { ...first, [field]: second[field] })
        .with(j, { ...second, [field]: first[field] });
    }
    case 'set_replace':
      return devices.with(operation.index, deviceOf(operation, set));
  }
}

/** A device in NVIDIA's JSON form, out of the files of another vector. */
function deviceOf({ arch, from }: OperationOf<'set_replace'>, set: NvidiaSet): Device {
  const other = caseOf(set, vectorById(set, from.vector));
  const report = fileOf(other, 'report');
  return {
    arch,
    nonce: toHex(report.subarray(4, 36)),
    evidence: toBase64(report),
    certificate: toBase64(fileOf(other, 'chain')),
  };
}

export function editJson(
  bytes: Uint8Array,
  operation: OperationOf<'json_set' | 'json_delete' | 'json_copy_from' | 'jwt_edit'>,
  set: NvidiaSet,
): Uint8Array {
  const document: unknown = JSON.parse(fromUtf8(bytes, 'json'));
  const { holder, name } = locate(document, operation.pointer);
  switch (operation.op) {
    case 'json_set':
      holder[name] = operation.value;
      break;
    case 'json_delete':
      if (Array.isArray(holder)) holder.splice(Number(name), 1);
      else Reflect.deleteProperty(holder, name);
      break;
    case 'json_copy_from': {
      const { vector, file, pointer } = operation.from;
      const other: unknown = JSON.parse(fromUtf8(fileOf(caseOf(set, vectorById(set, vector)), file), 'json'));
      const found = locate(other, pointer);
      holder[name] = found.holder[found.name];
      break;
    }
    case 'jwt_edit':
      holder[name] = editToken(String(holder[name]), operation);
  }
  return toUtf8(JSON.stringify(document));
}

/** The object or array that holds what a JSON pointer names (RFC 6901), and the name within it. */
function locate(
  document: unknown,
  pointer: string,
): { readonly holder: Record<string, unknown>; readonly name: string } {
  const names = pointer
    .split('/')
    .slice(1)
    .map((name) => name.replaceAll('~1', '/').replaceAll('~0', '~'));
  const name = names.pop();
  let holder = document;
  for (const step of names) holder = (holder as Record<string, unknown> | undefined)?.[step];
  if (name === undefined || typeof holder !== 'object' || holder === null)
    throw new Error(`nothing is at ${pointer}`);
  return { holder: holder as Record<string, unknown>, name };
}

function editToken(token: string, { header, payload, signature }: OperationOf<'jwt_edit'>): string {
  const [first = '', second = '', third = ''] = token.split('.');
  return [merged(first, header), merged(second, payload), signature ?? third].join('.');
}

function merged(part: string, members: Readonly<Record<string, unknown>> | undefined): string {
  if (members === undefined) return part;
  const base64 = part.replaceAll('-', '+').replaceAll('_', '/');
  const padded = base64.padEnd(Math.ceil(base64.length / 4) * 4, '=');
  const value = JSON.parse(fromUtf8(fromBase64(padded, 'token'), 'token')) as object;
  return toBase64Url(toUtf8(JSON.stringify({ ...value, ...members })));
}

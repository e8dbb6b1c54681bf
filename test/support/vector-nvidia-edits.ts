/** The operations of mutations: each takes a case and gives the altered one. They judge nothing. */

import { equalBytes, fromHex, fromUtf8, toUtf8 } from '../../attestation/core/bytes.ts';
import { caseOf, fileOf, vectorById } from './vector-nvidia-case.ts';
import type { NvidiaCase, NvidiaSet } from './vector-nvidia-case.ts';
import { editDevices, editJson } from './vector-nvidia-edits-json.ts';
import { editPem } from './vector-nvidia-edits-pem.ts';
import type { Operation, OperationOf } from './vector-nvidia-operations.ts';
import { overwrite, xorAt } from './vector-nvidia-pieces.ts';

type FileOperation = Extract<Operation, { file: string }>;

/**
 * The case after all operations, in their order.
 *
 * @throws Error when an operation does not fit the case or changes nothing
 */
export function applyOperations(subject: NvidiaCase, operations: readonly Operation[]): NvidiaCase {
  return operations.reduce(applyOperation, subject);
}

function applyOperation(subject: NvidiaCase, operation: Operation): NvidiaCase {
  if (operation.op === 'context') {
    const { name, value } = operation;
    if (JSON.stringify(subject.context[name]) === JSON.stringify(value)) throw changesNothing(operation);
    return { ...subject, context: { ...subject.context, [name]: value } };
  }
  const before = fileOf(subject, operation.file);
  const after = editFile(before, operation, subject.set);
  if (equalBytes(before, after)) throw changesNothing(operation);
  return { ...subject, files: new Map([...subject.files, [operation.file, after]]) };
}

function changesNothing({ op }: Operation): Error {
  return new Error(`the operation ${op} changes nothing`);
}

function editFile(bytes: Uint8Array, operation: FileOperation, set: NvidiaSet): Uint8Array {
  switch (operation.op) {
    case 'xor':
      return overwrite(bytes, operation.offset, xorAt(bytes, operation));
    case 'write':
      return overwrite(bytes, operation.offset, fromHex(operation.hex, 'hex'));
    case 'truncate':
      return bytes.slice(0, operation.length);
    case 'append':
      return concat(bytes, fromHex(operation.hex, 'hex'));
    case 'text_replace':
      return replaceText(bytes, operation);
    case 'replace_file':
      return fileOf(caseOf(set, vectorById(set, operation.from.vector)), operation.from.file);
    case 'pem_delete':
    case 'pem_swap':
    case 'pem_reverse':
    case 'pem_duplicate':
    case 'pem_replace':
    case 'der_xor':
      return editPem(bytes, operation, set);
    case 'set_copy':
    case 'set_delete':
    case 'set_field':
    case 'set_swap':
    case 'set_replace':
      return editDevices(bytes, operation, set);
    case 'json_set':
    case 'json_delete':
    case 'json_copy_from':
    case 'jwt_edit':
      return editJson(bytes, operation, set);
  }
}

function concat(first: Uint8Array, second: Uint8Array): Uint8Array {
  const whole = new Uint8Array(first.length + second.length);
  whole.set(first);
  whole.set(second, first.length);
  return whole;
}

function replaceText(bytes: Uint8Array, { find, replace }: OperationOf<'text_replace'>): Uint8Array {
  const text = fromUtf8(bytes, 'file');
  if (!text.includes(find)) throw new Error(`the text ${find.slice(0, 40)} is not there`);
  // A function, because a text would have its dollar signs read.
  return toUtf8(text.replace(find, () => replace));
}

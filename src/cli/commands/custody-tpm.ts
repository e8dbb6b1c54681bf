import { Option, type Command } from 'commander';

import { toHex } from '../../../attestation/core/bytes.ts';
import { readFileBounded, writeFileDurably } from '../../platform/files.ts';
import { MODES, type Mode } from '../../governance/fields.ts';
import {
  closeUntilRestart,
  createTpmCustody,
  DEFAULT_COUNTER_INDEX,
  readTpmCustodyStatus,
  withdrawApprovalsBelow,
} from '../../keys/tpm/administration.ts';
import { approvalToSign, MAX_APPROVAL_BYTES } from '../../keys/tpm/approval.ts';
import { approvalWithSignature, signApproval } from '../../keys/tpm/approval-signing.ts';
import { installApproval } from '../../keys/tpm/approval-folder.ts';
import { identityOf, readTpmCustodyCopy, type TpmCustodyDocument } from '../../keys/tpm/document.ts';
import { approvalRules, type TpmCustodyOptions } from '../../keys/tpm/tpm-custody.ts';
import { readSignerFile } from '../../keys/tpm/signer-file.ts';
import { originArgument, parsePositiveInteger } from '../arguments.ts';
import {
  collectPcrNumbers,
  collectPcrs,
  parseClosingPcr,
  parseNvIndex,
  type PcrArgument,
} from '../pcr-arguments.ts';
import { usageRefusals } from '../failure.ts';
import { passphraseOption, print, tpmOption } from '../options.ts';
import { readPassphrase } from '../passphrase.ts';

const MAX_SIGNATURE_BYTES = 1024;
const MAX_KEY_BYTES = 16 * 1024;
const READABLE = 0o644;

interface MachineOptions {
  readonly file: string;
  readonly approvals: string;
  readonly tpm: string;
}

interface ApproveOptions {
  readonly file: string;
  readonly pcr: readonly PcrArgument[];
  readonly approvalVersion: number;
  readonly key?: string;
  readonly encrypted?: true;
  readonly passphraseFile?: string;
  readonly signature?: string;
  readonly toSign?: string;
  readonly out?: string;
}

function onMachine(custody: Command, name: string, description: string): Command {
  return custody
    .command(name)
    .description(description)
    .requiredOption('--file <file>', 'the custody file')
    .requiredOption('--approvals <folder>', 'the folder of approvals')
    .addOption(tpmOption());
}

/** The server is that of the file: these commands work on one custody, whosever it is. */
function custodyOptions(
  { file, approvals, tpm }: MachineOptions,
  { origin, mode }: Pick<TpmCustodyDocument, 'origin' | 'mode'>,
): TpmCustodyOptions {
  return { path: file, approvals, tpmAddress: tpm, origin, mode };
}

/** `weightgate custody tpm`: make a custody, approve the states of a machine, install and withdraw approvals, close until a restart. */
export function registerCustodyTpm(custody: Command): void {
  const tpm = custody.command('tpm').description('custody of model keys by a TPM');
  registerCreate(tpm);
  registerStatus(tpm);
  registerApprove(tpm);
  registerMachineCommands(tpm);
}

interface CreateOptions extends MachineOptions {
  readonly signer: string;
  readonly origin: string;
  readonly mode: Mode;
  readonly counterIndex: number;
  readonly closingPcr?: number;
}

function registerCreate(tpm: Command): void {
  onMachine(tpm, 'create', 'make a custody with a first wrapping key, for a home that is made afterwards')
    .requiredOption('--signer <file>', 'the public key that will approve states of this machine, in PEM')
    .requiredOption('--origin <origin>', 'of the server', originArgument)
    .addOption(new Option('--mode <mode>', 'of the server').choices(MODES).makeOptionMandatory())
    .option(
      '--counter-index <index>',
      'NV index of the counter of versions',
      parseNvIndex,
      DEFAULT_COUNTER_INDEX,
    )
    .option('--closing-pcr <number>', 'the PCR, 8 to 15, by which `close` closes it', parseClosingPcr)
    .action(async (options: CreateOptions) => {
      const { origin, mode, counterIndex, closingPcr = null } = options;
      const signer = await readSignerFile(options.signer);
      const made = { ...custodyOptions(options, { origin, mode }), signer, counterIndex, closingPcr };
      const counter = await createTpmCustody(made);
      print(`the lowest version that an approval may have is ${counter}`);
    });
}

function registerStatus(tpm: Command): void {
  onMachine(tpm, 'status', 'print the counter, PCRs and approvals of this machine')
    .option('--pcrs <numbers>', 'PCRs to print, for example 4,7,11', collectPcrNumbers, [7, 11])
    .action(async (options: MachineOptions & { readonly pcrs: readonly number[] }) => {
      const document = await readTpmCustodyCopy(options.file);
      const status = await readTpmCustodyStatus(custodyOptions(options, document), options.pcrs);
      print(`custody ${status.custody} of ${document.origin}, ${document.mode}`);
      print(`wrapping keys ${status.wrappingKeys}, counter ${status.counter}`);
      for (const { pcr, value } of status.pcrs) print(`--pcr ${pcr}=${toHex(value)}`);
      for (const version of status.approvals) print(`approval of version ${version}`);
      for (const refused of status.refused) print(`of no use: ${refused}`);
    });
}

function registerApprove(tpm: Command): void {
  tpm
    .command('approve')
    .description('approve a state of the machine, away from it')
    .requiredOption('--file <file>', 'a copy of the custody file')
    .requiredOption('--pcr <number=value>', 'a PCR and its SHA-256 value; several times', collectPcrs)
    .requiredOption(
      '--approval-version <number>',
      'good while the counter of the TPM is not above it',
      parsePositiveInteger,
    )
    .option('--key <file>', 'the private key that approves, in PEM')
    .option('--encrypted', 'the private key is under a passphrase')
    .addOption(passphraseOption())
    .option('--to-sign <file>', 'write what has to be signed to a new file, for a key kept elsewhere')
    .option('--signature <file>', 'the signature that was made elsewhere: ECDSA in DER, or RSASSA; SHA-256')
    .option('--out <file>', 'the approval: a new file')
    .action(approve);
}

async function approve(options: ApproveOptions): Promise<void> {
  const { key, signature, toSign, out } = options;
  requireOneWay(options);
  const document = await readTpmCustodyCopy(options.file);
  const terms = {
    pcrs: options.pcr.toSorted((left, right) => left.pcr - right.pcr),
    counterIndex: document.counterIndex,
    approvalVersion: options.approvalVersion,
  };
  print(`custody ${document.custody} of ${document.origin}, ${document.mode}`);
  if (toSign !== undefined) {
    const bytes = approvalToSign(identityOf(document), terms);
    await writeFileDurably(toSign, bytes, READABLE, { overwrite: false });
  } else if (out !== undefined) {
    const approval =
      key === undefined
        ? await approvalWithSignature(
            document,
            terms,
            await readFileBounded(signature ?? '', MAX_SIGNATURE_BYTES),
          )
        : await signApproval(document, terms, {
            path: key,
            pem: await readFileBounded(key, MAX_KEY_BYTES),
            passphrase: await keyPassphrase(options, key),
          });
    await writeFileDurably(out, approval, READABLE, { overwrite: false });
  }
}

async function keyPassphrase(options: ApproveOptions, key: string): Promise<string | undefined> {
  if (options.encrypted === undefined) return undefined;
  return await readPassphrase(options.passphraseFile, key);
}

function requireOneWay({ key, signature, toSign, out }: ApproveOptions): void {
  const ways = [key, signature, toSign].filter((way) => way !== undefined);
  if (ways.length === 1 && (toSign === undefined) === (out !== undefined)) return;
  throw usageRefusals.error('argument-invalid', {
    field: 'custody tpm approve',
    expected: '--key and --out, --signature and --out, or --to-sign',
    found: 'another combination',
  });
}

function registerMachineCommands(tpm: Command): void {
  onMachine(tpm, 'install <approval>', 'verify an approval and put it into the folder').action(
    async (file: string, options: MachineOptions) => {
      const document = await readTpmCustodyCopy(options.file);
      const bytes = await readFileBounded(file, MAX_APPROVAL_BYTES);
      print(await installApproval(options.approvals, bytes, approvalRules(document)));
    },
  );

  onMachine(tpm, 'withdraw', 'make all approvals below a version useless, for good')
    .requiredOption('--below <version>', 'the lowest version that stays', parsePositiveInteger)
    .action(async (options: MachineOptions & { readonly below: number }) => {
      const document = await readTpmCustodyCopy(options.file);
      await withdrawApprovalsBelow(custodyOptions(options, document), options.below);
    });

  onMachine(tpm, 'close', 'let no process open the custody until the machine starts again').action(
    async (options: MachineOptions) => {
      const document = await readTpmCustodyCopy(options.file);
      await closeUntilRestart(custodyOptions(options, document));
    },
  );
}

/** The TPM's clock as lease time reads it (docs/spec/lease-clock.md, LC-5). */

import { type ClockReading, Tpm } from '../../../native/tpm-commands/tpm.ts';
import type { TpmClockReading } from '../lease-clock.ts';

/** A clock that takes longer to read is of no use, and what holds it up may hold up the agent for minutes. */
const LIMIT_SECONDS = 10;

/** A TPM that is open for an exchange with the server. */
type OpenTpm = Pick<Tpm, 'clock'>;

/**
 * Reads the clock over a connection of its own, so that other programs can use the TPM in between; during an exchange
 * over that of the exchange, because a TPM without a resource manager has one only. TPM2_ReadClock takes no session: what
 * somebody on the bus could make of its answer is bounded by the clocks of the kernel.
 */
export class TpmClock {
  private readonly address: string;
  private open: OpenTpm | undefined;

  /** @param address TCTI text */
  constructor(address: string) {
    this.address = address;
  }

  /** Does the work of an exchange, during which the TPM is open; undefined where the exchange does without it. */
  async during<T>(tpm: OpenTpm | undefined, work: () => Promise<T>): Promise<T> {
    this.open = tpm;
    try {
      return await work();
    } finally {
      this.open = undefined;
    }
  }

  /** @throws RefusalError `tpm-*` */
  async read(): Promise<TpmClockReading> {
    if (this.open !== undefined) return toClockReading(await this.open.clock());
    const limits = { openTimeoutSeconds: LIMIT_SECONDS, commandTimeoutSeconds: LIMIT_SECONDS };
    const tpm = await Tpm.open(this.address, limits);
    try {
      return toClockReading(await tpm.clock());
    } finally {
      await tpm.close();
    }
  }
}

/** Milliseconds fit a number for 285,000 years. */
function toClockReading({ clockInfo }: ClockReading): TpmClockReading {
  const { clock, resetCount, restartCount, safe } = clockInfo;
  return { clockMilliseconds: Number(clock), resetCount, restartCount, safe: safe === 1 };
}

// Stands for WhatsApp's telemetry tables, 22,000 lines: the sidecar sends no telemetry.
export const WEB_EVENTS = []
export const WEB_GLOBALS = []
export const FLAG_BYTE = 8
export const FLAG_GLOBAL = 0
export const FLAG_EVENT = 1
export const FLAG_FIELD = 2
export const FLAG_EXTENDED = 4

"""Runs a program on a terminal of its own. Reads a step a line from stdin, answers each with a line of JSON on stdout.

{"type": TEXT}            types it
{"resize": [ROWS, COLS]}  gives the terminal another size
{"signal": NAME}          sends it to the program
{"until": TEXT}           waits until the program has written it since the last "clear", at most "within" seconds
{"clear": true}           forgets what was written
{"hang-up": true}         closes the terminal
{"exit": true}            waits for the end: exit code, what was written, whether the settings are those of before
"""
import fcntl, json, os, pty, select, signal, struct, sys, termios, time


def main():
    columns, rows, program = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    before = termios.tcgetattr(slave)
    child = os.fork()
    if child == 0:
        os.close(master)
        os.setsid()
        fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
        for fd in (0, 1, 2):
            os.dup2(slave, fd)
        os.execvp(program[0], program)
    seen, code, hung_up = b"", None, False

    def read(seconds):
        nonlocal seen
        if hung_up:
            time.sleep(seconds)
            return
        if select.select([master], [], [], seconds)[0]:
            try:
                seen += os.read(master, 65536)
            except OSError:
                time.sleep(seconds)

    def ended():
        nonlocal code
        if code is None:
            pid, status = os.waitpid(child, os.WNOHANG)
            if pid != 0:
                code = os.waitstatus_to_exitcode(status)
        return code is not None

    for text in sys.stdin:
        step = json.loads(text)
        until = time.monotonic() + step.get("within", 20)
        answer = {}
        if "type" in step:
            os.write(master, step["type"].encode())
        elif "resize" in step:
            lines, width = step["resize"]
            fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, width, 0, 0))
            os.kill(child, signal.SIGWINCH)
        elif "signal" in step:
            os.kill(child, getattr(signal, "SIG" + step["signal"]))
        elif "until" in step:
            while step["until"].encode() not in seen and time.monotonic() < until and not ended():
                read(0.05)
            answer = {"found": step["until"].encode() in seen, "output": seen.decode("utf8", "replace")}
        elif "clear" in step:
            read(0.01)
            seen = b""
        elif "hang-up" in step:
            os.close(slave)
            os.close(master)
            hung_up = True
        elif "exit" in step:
            while not ended() and time.monotonic() < until:
                read(0.05)
            read(0.05)
            same = None if hung_up else termios.tcgetattr(slave) == before
            answer = {"code": code, "output": seen.decode("utf8", "replace"), "same": same}
            if code is None:
                os.kill(child, signal.SIGKILL)
        print(json.dumps(answer), flush=True)


main()

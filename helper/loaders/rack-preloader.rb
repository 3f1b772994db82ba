# frozen_string_literal: true

# Makes the loader a preloader: the application is loaded once, and every process that serves it is forked from here. What is done
# for a fork is in PROTOCOL.md beside this file.
#
# It is read before the application, so until that is loaded it uses nothing but what is built into the interpreter.

module PhusionPassenger
  module RackLoader
    class Preloader
      ORDERS = 4

      # From programs that the application runs while it is loaded.
      def self.keep_orders
        IO.for_fd(ORDERS, autoclose: false).close_on_exec = true
      end

      # `channel` is for what the loader says, `errors` standard error as it was, and `control` the pipe whose end is ours.
      def initialize(channel, errors, control)
        @channel = channel
        @errors = errors
        @control = control
        @orders = Socket.for_fd(ORDERS)
      end

      # Returns in each process that was forked, with channel and control pipe of that; never here.
      def serve
        self.class.disconnect
        settle
        terminated = trap('TERM') { exit!(0) }
        @channel.syswrite("\n!> Ready\n!> preloader\n!> \n")
        loop do
          readable, = IO.select([@orders, @control])
          leave if readable.include?(@control) && @control.read_nonblock(4096, exception: false).nil?
          next unless readable.include?(@orders) && (ends = take_order)
          trap('TERM', terminated)
          return ends
        end
      end

      # Connections of a database are good for one process only.
      def self.disconnect
        return unless defined?(ActiveRecord::Base)
        handlers = [ActiveRecord::Base]
        handlers << ActiveRecord::Base.connection_handler if ActiveRecord::Base.respond_to?(:connection_handler)
        handler = handlers.find { |one| one.respond_to?(:clear_all_connections!) }
        handler.clear_all_connections! if handler
      rescue StandardError => error
        Log.say('an exception while database connections were closed:')
        Log.exception(error)
      end

      private

      # What is old is not written to by a collection, so that it stays shared.
      def settle
        return Process.warmup if Process.respond_to?(:warmup)
        4.times { GC.start }
      end

      # The exit handlers are those of the processes, which may still need what they remove.
      def leave
        $stdout.flush
        exit!(0)
      rescue SystemCallError, IOError
        exit!(0)
      end

      # Forks once. Returns channel and control pipe in the new process, and nil here.
      def take_order
        data, _, _, *controls = @orders.recvmsg(64, 0, 256, scm_rights: true)
        leave if data.nil? || data.empty?
        ends = controls.flat_map { |control| control.cmsg_is?(:SOCKET, :RIGHTS) ? control.unix_rights : [] }
        return become_process(*ends) if ends.size == 5 && fork_for(ends[4])
        ends.each { |io| io.close }
        nil
      end

      # Says whether this is the new process, whose parent is the helper.
      def fork_for(birth)
        closed, last = IO.pipe
        middle = Process.fork
        return between(closed, last) unless middle
        begin
          Process.wait(middle)      # now the new process is the helper's child, and reads the end of the pipe
          status = $?.exitstatus
        rescue Errno::ECHILD
          status = 0                # the application has waited for it
        end
        birth.syswrite("fork: #{SystemCallError.new(status).message}") unless status == 0
        false
      rescue SystemCallError => error
        birth.syswrite("fork: #{error.message}")
        false
      ensure
        [closed, last].each { |io| io.close if io && !io.closed? }
      end

      # In the process that is between the preloader and the new one, and in that.
      def between(closed, last)
        last.close
        exit!(0) if Process.fork
        closed.read(1)
        true
      rescue SystemCallError => error
        exit!(error.errno)
      end

      def become_process(control, output, errors, listener, birth)
        Process.setsid
        take_mark(birth)
        @orders.close
        @control.close
        RackLoader.send(:remove_const, :PID)
        RackLoader.const_set(:PID, Process.pid)
        # Where the application put something else in their place, that stays.
        [[1, output, @channel], [2, errors, @errors]].each do |fd, io, was|
          put(io, fd, 'w') if same?(IO.for_fd(fd, 'w', autoclose: false), was)
        end
        put(listener, LISTENER, 'r+')
        [@channel, @errors, errors, listener].each(&:close)
        srand
        self.class.disconnect
        [output, control]
      end

      # The watchdog knows us from now on, and our descendants by the mark.
      def take_mark(birth)
        birth.syswrite('born')
        number = birth.sysread(32).to_i
        exit!(1) if number == 0
        birth.close
        Process.setrlimit(:RTTIME, number, Process.getrlimit(:RTTIME).last)
      rescue EOFError
        exit!(1)    # nobody wants us any more
      rescue SystemCallError
        exit!(1) unless birth.closed?     # otherwise it has a limit of its own
      end

      # As dup2() does: an object of its own, so that those of the application stay what they are.
      def put(io, fd, mode)
        IO.for_fd(fd, mode, autoclose: false).reopen(io)
      end

      def same?(one, other)
        one.stat == other.stat && one.stat.ino == other.stat.ino
      end
    end
  end
end

// Logs in with System.Net.Mail and sends one message. Usage: mono login.exe HOST PORT none|starttls USER PASSWORD
// It knows STARTTLS only: implicit TLS never was part of it.
using System.Net;
using System.Net.Mail;

class Program
{
    static void Main(string[] arguments)
    {
        // As applications with a server of their own do.
        ServicePointManager.ServerCertificateValidationCallback = (sender, certificate, chain, errors) => true;
        using (var client = new SmtpClient(arguments[0], int.Parse(arguments[1])))
        {
            client.EnableSsl = arguments[2] == "starttls";
            client.Credentials = new NetworkCredential(arguments[3], arguments[4]);
            client.Send("ann@client.test", "bob@upstream.test", "from System.Net.Mail", "Hello");
        }
    }
}
